// The edge where exceptions of others become Errors.
#pragma once

#include <exception>
#include <new>
#include <type_traits>

#include "core/result.h"

namespace sluice {

// Runs `work`, which returns a Result; what it throws becomes an Error.
template <class Work>
std::invoke_result_t<const Work&> Guarded(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kResource, "out of memory");
  } catch (const std::exception& exception) {
    return MakeError(ErrorCode::kBug, "unexpected exception").Actual(exception.what());
  }
}

}  // namespace sluice

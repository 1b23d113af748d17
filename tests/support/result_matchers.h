// Matchers for Result<T>: what an operation must report, not only that it fails.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "core/result.h"

namespace sluice::testing {

// A success. Use with *result afterwards.
MATCHER(IsOk, "is a success") {
  if (arg.has_value()) return true;
  *result_listener << "which is the error: " << arg.error().Format();
  return false;
}

// A failure with this code whose printed form contains `text`.
MATCHER_P2(Fails, code, text,
           "fails with the given code and a message that contains '" + std::string(text) + "'") {
  if (arg.has_value()) {
    *result_listener << "which is a success";
    return false;
  }
  const std::string message = arg.error().Format();
  *result_listener << "which has code " << static_cast<int>(arg.error().code)
                   << " and says: " << message;
  return arg.error().code == code && message.find(text) != std::string::npos;
}

}  // namespace sluice::testing

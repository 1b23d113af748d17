// A matcher for the whole printed form of an error: reject tests state every field of it.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "core/error.h"

namespace sluice::testing {

// A failure with this code that prints exactly this line, not counting advice and further problems.
MATCHER_P2(FailsWith, code, line,
           "fails with the given code and says '" + std::string(line) + "'") {
  if (arg.has_value()) {
    *result_listener << "which is a success";
    return false;
  }
  const std::string message = arg.error().Format();
  *result_listener << "which has code " << static_cast<int>(arg.error().code)
                   << " and says: " << message;
  return arg.error().code == code && message.substr(0, message.find('\n')) == line;
}

}  // namespace sluice::testing

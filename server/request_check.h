// What is refused of a request before any of its body is read.
#pragma once

#include <httplib.h>

#include <cstddef>
#include <optional>
#include <string>

#include "core/error.h"

namespace sluice::server {

struct Refusal {
  int status = 400;
  Error error;
};

// The refusal of a body that is larger than `max_body_bytes`.
[[nodiscard]] Refusal TooLarge(std::size_t max_body_bytes);

// Refuses what pages of other sites ask (403), whatever the method; a host or a body's length that
// is not stated clearly (400, 411) or too large (413); bodies that are compressed or forms (415).
// `listens_on`: the server's address.
[[nodiscard]] std::optional<Refusal> CheckRequest(const httplib::Request& request,
                                                  const std::string& listens_on,
                                                  std::size_t max_body_bytes);

}  // namespace sluice::server

// The page to chat in: server/page.html, built into the program.
#pragma once

#include <string_view>

namespace sluice::server {

extern const std::string_view kPage;

}  // namespace sluice::server

// Questions about names in the file system.
#pragma once

#include <string>

namespace sluice {

// Whether anything has this name, be it a link to nothing. True as well where the system does not
// let us see: opening it then says why.
[[nodiscard]] bool IsPresent(const std::string& path);

// One name for all that lead to the same place, whether anything is there or not: "a", "./a" and,
// by a link to this folder, "link/a".
[[nodiscard]] std::string PlaceOf(const std::string& path);

}  // namespace sluice

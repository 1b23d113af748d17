// Key-values that the user sets (--set), in place of a file's own or beside them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arch/spec.h"
#include "core/result.h"
#include "formats/gguf/value.h"

namespace sluice {

using Settings = std::vector<std::pair<std::string, gguf::Value>>;

// Sets them in order: present keys where they stand, others at the end. `spec` is the file's own
// description; nullptr for an architecture that is not known. kUsage for a key of a split model,
// for a value of another type than the description or, where that has no such key, the file has for
// the key, and for an architecture of which the file has no key: no reader could use such a file.
Status ApplySettings(const Settings& settings, const arch::FileSpec* spec,
                     gguf::Metadata& metadata);

}  // namespace sluice

#include "pipeline/measure/type_lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice {
namespace {

// A pattern for just this text. Patterns are lower-cased and # begins a comment: what could change
// its meaning becomes any character.
std::string Literally(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (plain) {
      pattern += c;
    } else {
      pattern += c == '.' ? "\\." : ".";
    }
  }
  return pattern;
}

// Tensors that differ in their block only.
struct Group {
  std::string_view rest;  // of the name, after "blk.N"; the whole of other names
  gguf::TensorType type = gguf::TensorType::kF32;
  std::vector<std::string_view> blocks;  // empty for other names
};

Group GroupOf(const TypedName& tensor) {
  const auto& [name, type] = tensor;
  if (!BlockOf(name)) return {name, type, {}};
  constexpr std::string_view kPrefix = "blk.";
  const std::size_t end = name.find('.', kPrefix.size());
  return {name.substr(end), type, {name.substr(kPrefix.size(), end - kPrefix.size())}};
}

std::string LineOf(const Group& group) {
  std::string blocks;
  if (!group.blocks.empty()) {
    const char* const form = group.blocks.size() == 1 ? "blk\\.{}" : "blk\\.({})";
    blocks = fmt::format(fmt::runtime(form), fmt::join(group.blocks, "|"));
  }
  return fmt::format("^{}{}$={}", blocks, Literally(group.rest),
                     AsciiLower(gguf::InfoOf(group.type).name));
}

}  // namespace

std::vector<std::string> TypeLines(const std::vector<TypedName>& tensors) {
  std::vector<Group> groups;
  for (const TypedName& tensor : tensors) {
    Group group = GroupOf(tensor);
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& other) {
      return !group.blocks.empty() && !other.blocks.empty() && other.rest == group.rest &&
             other.type == group.type;
    });
    if (same == groups.end()) {
      groups.push_back(std::move(group));
    } else {
      same->blocks.push_back(group.blocks.front());
    }
  }
  std::vector<std::string> lines;
  for (const Group& group : groups) lines.push_back(LineOf(group));
  return lines;
}

}  // namespace sluice

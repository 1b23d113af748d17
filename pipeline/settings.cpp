#include "pipeline/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

namespace sluice {
namespace {

using arch::KvType;
using gguf::ValueType;

constexpr std::string_view kArchitectureKey = "general.architecture";

ValueType TypeOf(KvType type) {
  switch (type) {
    case KvType::kU32:
      return ValueType::kU32;
    case KvType::kF32:
      return ValueType::kF32;
    case KvType::kBool:
      return ValueType::kBool;
    case KvType::kString:
      return ValueType::kString;
    case KvType::kU32Array:
    case KvType::kI32Array:
    case KvType::kF32Array:
      break;
  }
  return ValueType::kArray;
}

// The type that readers want; nullopt for a key that neither the description nor the file knows.
std::optional<ValueType> ExpectedType(std::string_view key, const arch::FileSpec* spec,
                                      const gguf::Metadata& metadata) {
  if (key == kArchitectureKey) return ValueType::kString;
  if (spec != nullptr) {
    for (const arch::KvRule& rule : spec->key_values) {
      std::string_view rest = key;
      if (rule.key.starts_with('.')) {
        if (!key.starts_with(spec->gguf_arch)) continue;
        rest.remove_prefix(spec->gguf_arch.size());
      }
      if (rest == rule.key) return TypeOf(rule.type);
    }
  }
  const gguf::Value* present = metadata.Find(key);
  if (present == nullptr) return std::nullopt;
  return gguf::TypeOf(*present);
}

Status CheckSetting(const std::string& key, const gguf::Value& value, const arch::FileSpec* spec,
                    const gguf::Metadata& metadata) {
  if (key.starts_with("split.")) {
    return MakeError(ErrorCode::kUsage, "the keys of a split model belong to its files")
        .Actual(key)
        .Advice("--max-shard-size splits a model; sluice merge makes one file of it");
  }
  const std::optional<ValueType> expected = ExpectedType(key, spec, metadata);
  const ValueType actual = gguf::TypeOf(value);
  if (!expected || *expected == actual) return Ok();
  return MakeError(ErrorCode::kUsage, fmt::format("--set gives '{}' another type", key))
      .Expected(*expected == ValueType::kArray ? "an array, which --set cannot write"
                                               : gguf::ValueTypeName(*expected))
      .Actual(gguf::ValueTypeName(actual));
}

// Whether some key is one of this architecture.
bool HasKeysOf(const gguf::Metadata& metadata, const std::string& architecture) {
  return std::ranges::any_of(metadata.items(), [&](const gguf::KeyValue& item) {
    return item.key.starts_with(architecture + ".");
  });
}

}  // namespace

Status ApplySettings(const Settings& settings, const arch::FileSpec* spec,
                     gguf::Metadata& metadata) {
  const auto architecture = [&] {
    const auto* name = metadata.Get<std::string>(kArchitectureKey);
    return name == nullptr ? std::string() : *name;
  };
  const std::string before = architecture();
  for (const auto& [key, value] : settings) {
    SLUICE_TRY(CheckSetting(key, value, spec, metadata));
    metadata.Set(key, value);
  }
  const std::string after = architecture();
  if (after == before || HasKeysOf(metadata, after)) return Ok();
  return MakeError(ErrorCode::kUsage, "--set gives an architecture of which the file has no key")
      .Expected(before)
      .Actual(after);
}

}  // namespace sluice

#include <fmt/format.h>

#include <limits>
#include <type_traits>

#include "pipeline/quantize/recipe.h"

namespace sluice {
namespace {

// A whole number from 0 up, of any integer type; of an array its first.
template <typename T>
std::optional<std::uint64_t> AsCount(T number) {
  if constexpr (std::is_signed_v<T>) {
    if (number < 0) return std::nullopt;
  }
  return static_cast<std::uint64_t>(number);
}

std::optional<std::uint64_t> FirstOf(const gguf::Array& array) {
  if (array.size() == 0) return std::nullopt;
  switch (array.element_type()) {
    case gguf::ValueType::kU32:
      return AsCount(array.At<std::uint32_t>(0));
    case gguf::ValueType::kI32:
      return AsCount(array.At<std::int32_t>(0));
    default:
      return std::nullopt;
  }
}

std::optional<std::uint64_t> CountIn(const gguf::Value& value) {
  return std::visit(
      [](const auto& held) -> std::optional<std::uint64_t> {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, gguf::Array>) {
          return FirstOf(held);
        } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          return AsCount(held);
        } else {
          return std::nullopt;
        }
      },
      value);
}

// Reads counts that fit 32 bits, so that products with small constants cannot overflow.
class FactReader {
 public:
  FactReader(const gguf::Metadata& metadata, const std::string& architecture)
      : metadata_(metadata), architecture_(architecture) {}

  Result<std::uint64_t> Count(std::string_view name, std::optional<std::uint64_t> fallback) const {
    const std::string key = fmt::format("{}.{}", architecture_, name);
    const gguf::Value* value = metadata_.Find(key);
    if (value == nullptr) {
      if (fallback) return *fallback;
      return MakeError(ErrorCode::kMissing, fmt::format("the model has no key '{}'", key));
    }
    const std::optional<std::uint64_t> count = CountIn(*value);
    if (count && *count <= std::numeric_limits<std::uint32_t>::max()) return *count;
    return MakeError(ErrorCode::kCorrupt, fmt::format("key '{}' is no count", key))
        .Expected("a whole number of 32 bits")
        .Actual(gguf::ToText(*value, 1, 40));
  }

 private:
  const gguf::Metadata& metadata_;
  const std::string& architecture_;
};

}  // namespace

Result<ModelFacts> ModelFactsOf(const gguf::Metadata& metadata) {
  const auto* architecture = metadata.Get<std::string>("general.architecture");
  if (architecture == nullptr) {
    return MakeError(ErrorCode::kMissing, "the model has no key 'general.architecture'");
  }
  ModelFacts facts;
  facts.architecture = *architecture;
  const FactReader reader(metadata, *architecture);
  SLUICE_ASSIGN(facts.num_blocks, reader.Count("block_count", std::nullopt));
  SLUICE_ASSIGN(facts.num_mtp_blocks, reader.Count("nextn_predict_layers", 0));
  SLUICE_ASSIGN(facts.num_heads, reader.Count("attention.head_count", 0));
  SLUICE_ASSIGN(facts.num_kv_heads, reader.Count("attention.head_count_kv", facts.num_heads));
  SLUICE_ASSIGN(facts.num_experts, reader.Count("expert_count", 0));
  if (const auto* number = metadata.Get<std::uint32_t>("general.file_type")) {
    facts.file_type = *number;
  }
  return facts;
}

}  // namespace sluice

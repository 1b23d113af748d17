#include "pipeline/key_values.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>

namespace sluice {
namespace {

using arch::HpValue;
using arch::KvRule;
using arch::KvType;

HpValue SourceValue(const KvRule& rule, const arch::HParams& hparams, std::uint32_t file_type) {
  struct Visitor {
    const arch::HParams& hparams;
    std::uint32_t file_type;
    HpValue operator()(arch::Hp id) const { return hparams.Get(id); }
    HpValue operator()(std::uint32_t number) const { return std::uint64_t{number}; }
    HpValue operator()(bool flag) const { return flag; }
    HpValue operator()(std::string_view text) const { return std::string(text); }
    HpValue operator()(arch::Derive derive) const { return derive(hparams); }
    HpValue operator()(arch::FileType) const { return std::uint64_t{file_type}; }
  };
  return std::visit(Visitor{hparams, file_type}, rule.from);
}

bool IsWritten(const KvRule& rule, const arch::HParams& hparams, const HpValue& value) {
  switch (rule.when) {
    case arch::When::kPresent:
    case arch::When::kRequired:
      return true;
    case arch::When::kGiven:
      return hparams.Given(std::get<arch::Hp>(rule.from));
    case arch::When::kNonZero:
      return value != HpValue(std::uint64_t{0}) && value != HpValue(0.0);
    case arch::When::kTrue:
      return value == HpValue(true);
  }
  return false;
}

std::optional<double> AsReal(const HpValue& value) {
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* count = std::get_if<std::uint64_t>(&value)) return static_cast<double>(*count);
  return std::nullopt;
}

// A list of integers as an array of `To`; nullopt when one does not fit.
template <typename To>
std::optional<gguf::Value> IntegerArray(const HpValue& value) {
  const auto* integers = std::get_if<std::vector<std::int64_t>>(&value);
  if (integers == nullptr) return std::nullopt;
  std::vector<To> converted;
  for (const std::int64_t integer : *integers) {
    if (!std::in_range<To>(integer)) return std::nullopt;
    converted.push_back(static_cast<To>(integer));
  }
  return gguf::Array::Of(std::span<const To>(converted));
}

std::optional<gguf::Value> RealArray(const HpValue& value) {
  const auto* reals = std::get_if<std::vector<double>>(&value);
  if (reals == nullptr) return std::nullopt;
  const std::vector<float> converted(reals->begin(), reals->end());
  return gguf::Array::Of(std::span<const float>(converted));
}

// nullopt when the value is not of the key's kind or does not fit it.
std::optional<gguf::Value> Convert(KvType type, const HpValue& value) {
  switch (type) {
    case KvType::kU32: {
      const auto* count = std::get_if<std::uint64_t>(&value);
      if (count == nullptr || !std::in_range<std::uint32_t>(*count)) return std::nullopt;
      return static_cast<std::uint32_t>(*count);
    }
    case KvType::kF32: {
      const auto real = AsReal(value);
      if (!real) return std::nullopt;
      return static_cast<float>(*real);
    }
    case KvType::kBool: {
      const auto* flag = std::get_if<bool>(&value);
      if (flag == nullptr) return std::nullopt;
      return *flag;
    }
    case KvType::kString: {
      const auto* text = std::get_if<std::string>(&value);
      if (text == nullptr) return std::nullopt;
      return *text;
    }
    case KvType::kU32Array:
      return IntegerArray<std::uint32_t>(value);
    case KvType::kI32Array:
      return IntegerArray<std::int32_t>(value);
    case KvType::kF32Array:
      return RealArray(value);
  }
  return std::nullopt;
}

template <typename T>
std::optional<gguf::Value> ParseNumber(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<gguf::Value> ParseOfType(gguf::ValueType type, std::string_view text) {
  switch (type) {
    case gguf::ValueType::kU8:
      return ParseNumber<std::uint8_t>(text);
    case gguf::ValueType::kI8:
      return ParseNumber<std::int8_t>(text);
    case gguf::ValueType::kU16:
      return ParseNumber<std::uint16_t>(text);
    case gguf::ValueType::kI16:
      return ParseNumber<std::int16_t>(text);
    case gguf::ValueType::kU32:
      return ParseNumber<std::uint32_t>(text);
    case gguf::ValueType::kI32:
      return ParseNumber<std::int32_t>(text);
    case gguf::ValueType::kU64:
      return ParseNumber<std::uint64_t>(text);
    case gguf::ValueType::kI64:
      return ParseNumber<std::int64_t>(text);
    case gguf::ValueType::kF32:
      return ParseNumber<float>(text);
    case gguf::ValueType::kF64:
      return ParseNumber<double>(text);
    case gguf::ValueType::kBool:
      if (text == "true" || text == "1") return true;
      if (text == "false" || text == "0") return false;
      return std::nullopt;
    case gguf::ValueType::kString:
      return std::string(text);
    case gguf::ValueType::kArray:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

void AddKeyValues(const arch::FileSpec& file, const arch::HParams& hparams, std::uint32_t file_type,
                  gguf::Metadata& metadata, std::vector<Error>& problems) {
  for (const KvRule& rule : file.key_values) {
    const std::string key = rule.key.starts_with('.')
                                ? std::string(file.gguf_arch) + std::string(rule.key)
                                : std::string(rule.key);
    const HpValue value = SourceValue(rule, hparams, file_type);
    if (value.index() == 0) {
      if (rule.when == arch::When::kRequired) {
        problems.push_back(
            MakeError(ErrorCode::kMissing, fmt::format("no value for the key '{}'", key))
                .Advice("preprocessor_config.json or processor_config.json should have it"));
      }
      continue;
    }
    if (!IsWritten(rule, hparams, value)) continue;
    if (std::optional<gguf::Value> converted = Convert(rule.type, value)) {
      metadata.Set(key, *std::move(converted));
    } else {
      problems.push_back(MakeError(
          ErrorCode::kMismatch, fmt::format("the value of key '{}' does not fit its type", key)));
    }
  }
}

Result<gguf::Value> ParseTypedValue(const std::string& text) {
  const std::size_t colon = text.find(':');
  const auto type = gguf::ParseValueType(std::string_view(text).substr(0, colon));
  if (colon != std::string::npos && type) {
    if (auto value = ParseOfType(*type, std::string_view(text).substr(colon + 1))) {
      return *std::move(value);
    }
  }
  const bool has_type = colon != std::string::npos && type && *type != gguf::ValueType::kArray;
  return MakeError(ErrorCode::kUsage, "not a typed value")
      .Expected(has_type
                    ? fmt::format("TYPE:VALUE with a VALUE that {} can hold",
                                  *type == gguf::ValueType::kBool ? "bool (true or false)"
                                                                  : text.substr(0, colon))
                    : "TYPE:VALUE with TYPE one of u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str")
      .Actual(fmt::format("'{}'", text));
}

}  // namespace sluice

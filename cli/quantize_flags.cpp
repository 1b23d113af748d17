// The flags that choose how a file is quantized.
#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <string_view>

#include "cli/command.h"
#include "pipeline/check_output.h"
#include "pipeline/measure/target.h"
#include "pipeline/quantize/apply.h"
#include "stages/sink.h"

namespace sluice::cli {
namespace {

// Whether a flag is given that means nothing without --type.
bool HasCompanions(const QuantizeFlags& flags) {
  return flags.pure || flags.leave_output || flags.bit_exact || !flags.output_type.empty() ||
         !flags.embedding_type.empty() || !flags.tensor_types.empty() ||
         !flags.tensor_types_file.empty() || !flags.imatrix.empty() ||
         flags.non_finite != "error" || !flags.save_types.empty();
}

// A value that `flag` does not take.
Error OfFlag(std::string_view flag, Error error) {
  error.what = fmt::format("{}: {}", flag, error.what);
  return error;
}

Status SetType(std::string_view flag, const std::string& name,
               std::optional<gguf::TensorType>& type) {
  if (name.empty()) return Ok();
  Result<gguf::TensorType> parsed = ParseTargetType(name);
  if (!parsed) return OfFlag(flag, std::move(parsed).error());
  type = *parsed;
  return Ok();
}

Status AddRules(const QuantizeFlags& flags, std::vector<TypeRule>& rules) {
  for (const std::string& text : flags.tensor_types) {
    Result<TypeRule> rule = ParseTypeRule(text);
    if (!rule) return OfFlag("--tensor-type", std::move(rule).error());
    rules.push_back(*std::move(rule));
  }
  if (flags.tensor_types_file.empty()) return Ok();
  SLUICE_ASSIGN(std::vector<TypeRule> more, ReadTypeRules(flags.tensor_types_file));
  for (TypeRule& rule : more) rules.push_back(std::move(rule));
  return Ok();
}

}  // namespace

void AddQuantizeFlags(CLI::App& command, QuantizeFlags& flags) {
  const auto text = [&](const char* name, std::string& target, const char* type, const char* help) {
    RefuseEmpty(command.add_option(name, target, help)->type_name(type));
  };
  text("--type", flags.type, "TYPE",
       "Quantize by a recipe of llama-quantize: Q4_K_M, Q8_0, IQ4_XS, MXFP4_MOE ..., or NVFP4; "
       "default: keep --outtype");
  command.add_flag("--pure", flags.pure,
                   "Give every tensor the recipe's main type; default: the recipe's mixture");
  command.add_flag("--leave-output-tensor", flags.leave_output,
                   "Do not quantize output.weight; default: quantize it");
  text("--output-tensor-type", flags.output_type, "GGML_TYPE",
       "Type of output.weight; default: what the recipe says");
  text("--token-embedding-type", flags.embedding_type, "GGML_TYPE",
       "Type of token_embd.weight; default: what the recipe says");
  command
      .add_option("--tensor-type", flags.tensor_types,
                  "Type of tensors whose name matches the ECMAScript expression; repeatable, the "
                  "first match counts; default: what the recipe says")
      ->type_name("REGEX=GGML_TYPE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  text("--tensor-types", flags.tensor_types_file, "FILE",
       "More of them from a file, one a line, # begins a comment; default: none");
  text("--imatrix", flags.imatrix, "FILE",
       "Importance matrix, as GGUF or in the legacy format; default: none");
  AddByteSize(*command.add_option("--target-size", flags.target_bytes,
                                  "Instead of the recipe's types, those of its family with the "
                                  "least error that fit a file of this size; without --type the "
                                  "K-quants; default: no limit"),
              1);
  command
      .add_option("--target-bpw", flags.target_bits,
                  "The same for this many bits per weight; default: no limit")
      ->type_name("BITS")
      ->check(CLI::Range(0.01, 64.0).description(""))
      ->excludes("--target-size");
  text("--save-types", flags.save_types, "FILE",
       "Where to write the types chosen for a target, as a --tensor-types file; default: stderr");
  AddChoices(*command.add_option("--nan", flags.non_finite,
                                 "NaN and infinity in a tensor to be quantized; default error"),
             {"error", "zero"});
  command.add_flag("--bit-exact", flags.bit_exact,
                   "Write the bytes of llama-quantize also where those are defective (IQ3_S, a "
                   "general.alignment other than 32); default: correct bytes");
}

Result<std::shared_ptr<const QuantizeRequest>> ToQuantizeRequest(const QuantizeFlags& flags) {
  if (flags.type.empty() && !flags.has_target()) {
    if (!HasCompanions(flags)) return std::shared_ptr<const QuantizeRequest>();
    return MakeError(ErrorCode::kUsage, "flags of quantization need --type")
        .Advice("name a recipe, such as --type Q4_K_M");
  }
  auto request = std::make_shared<QuantizeRequest>();
  QuantizeOptions& recipe = request->recipe;
  SLUICE_ASSIGN(recipe.file_type, ParseFileType(flags.type.empty() ? "Q4_K_M" : flags.type));
  recipe.pure = flags.pure;
  recipe.leave_output = flags.leave_output;
  recipe.allow_requantize = flags.allow_requantize;
  SLUICE_TRY(SetType("--output-tensor-type", flags.output_type, recipe.output_type));
  SLUICE_TRY(SetType("--token-embedding-type", flags.embedding_type, recipe.embedding_type));
  SLUICE_TRY(AddRules(flags, recipe.rules));
  request->importance_path = flags.imatrix;
  request->exact = flags.bit_exact;
  request->zero_non_finite = flags.non_finite == "zero";
  return std::shared_ptr<const QuantizeRequest>(std::move(request));
}

Status QuantizeToTargetOf(const QuantizeFlags& flags, const ConvertOptions& run, bool quiet,
                          bool overwrite, Plan& plan) {
  if (!flags.has_target()) {
    if (flags.save_types.empty()) return Ok();
    return MakeError(ErrorCode::kUsage, "--save-types needs --target-size or --target-bpw");
  }
  if (flags.pure) return MakeError(ErrorCode::kUsage, "a mix of types to a target is not --pure");
  SLUICE_ASSIGN(const std::shared_ptr<const QuantizeRequest> request, ToQuantizeRequest(flags));
  std::unique_ptr<Sink> sink;  // opened before the values are read, which takes long
  if (!flags.save_types.empty()) {
    SLUICE_TRY(CheckOutput(flags.save_types, plan));
    SLUICE_ASSIGN(sink, OpenFileSink(flags.save_types, 0, {overwrite, run.sync}));
  }
  const SizeTarget target{flags.target_bytes, flags.target_bits, !flags.type.empty()};
  SLUICE_ASSIGN(const std::string types, QuantizeToTarget(*request, target, run, plan));
  if (sink == nullptr) {
    constexpr std::string_view kEraseLine = "\r\x1b[K";  // of progress
    if (!quiet) Say("{}{}", ::isatty(STDERR_FILENO) == 1 ? kEraseLine : "", types);
    return Ok();
  }
  const auto bytes = std::as_bytes(std::span(types));
  SLUICE_TRY(sink->Append(std::span(&bytes, 1)));
  return sink->Finish();
}

}  // namespace sluice::cli

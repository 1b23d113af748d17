#include "cli/command.h"

#include <fmt/format.h>
#include <signal.h>

#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "core/checked.h"
#include "core/utf8.h"
#include "pipeline/key_values.h"

namespace sluice::cli {
namespace {

std::atomic<bool> cancel_requested{false};

void OnSignal(int) { cancel_requested.store(true); }

// The factor of a unit: 1, or a power of 1024 ("k", "kib") or of 1000 ("kb"). 0 for no unit.
std::uint64_t UnitBytes(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  const bool decimal = unit.size() == 2 && unit[1] == 'b';
  if (!decimal && unit.size() != 1 && unit.substr(1) != "ib") return 0;
  std::uint64_t bytes = 1;
  for (const char letter : {'k', 'm', 'g', 't'}) {
    bytes *= decimal ? 1000 : 1024;
    if (unit[0] == letter) return bytes;
  }
  return 0;
}

// "512M" -> 2^29; nullopt for anything but digits and a unit, and for what does not fit.
std::optional<std::uint64_t> ParseBytes(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) return std::nullopt;
  const std::uint64_t factor = UnitBytes(CLI::detail::to_lower(std::string(unit, end)));
  return factor == 0 ? std::nullopt : CheckedMul(number, factor);
}

// As the format has it; readers refuse longer ones (GGUF specification, "key").
constexpr std::size_t kMaxKeyBytes = 65535;

// Text in a GGUF file is UTF-8.
Error NotUtf8(std::string_view flag, const std::string& text) {
  return MakeError(ErrorCode::kUsage, fmt::format("{}: the text is not UTF-8", flag)).Actual(text);
}

}  // namespace

ExitCode ExitCodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return kUsage;
    case ErrorCode::kCorrupt:
    case ErrorCode::kMissing:
    case ErrorCode::kMismatch:
      return kBadInput;
    case ErrorCode::kUnsupported:
      return kUnsupported;
    case ErrorCode::kIo:
    case ErrorCode::kResource:
      return kIo;
    case ErrorCode::kCancelled:
      return kCancelled;
    case ErrorCode::kBug:
      return kBug;
  }
  return kBug;
}

void Fail(const Error& error, Context& context) {
  Say("error: {}\n", error.Format());
  context.exit_code = ExitCodeOf(error.code);
}

void PrintWarnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) Say("warning: {}\n", Printable(warning));
}

std::string HumanBytes(std::uint64_t bytes) {
  constexpr double kStep = 1000.0;
  double value = static_cast<double>(bytes);
  for (const char* unit : {"B", "kB", "MB", "GB", "TB"}) {
    if (value < kStep) return fmt::format("{:.{}f} {}", value, unit[0] == 'B' ? 0 : 2, unit);
    value /= kStep;
  }
  return fmt::format("{:.2f} PB", value);
}

void AddByteSize(CLI::Option& option, std::uint64_t least) {
  const auto to_bytes = [least](std::string& text) -> std::string {
    const std::optional<std::uint64_t> bytes = ParseBytes(text);
    if (!bytes || *bytes < least) {
      return fmt::format("expected a size such as 512M, at least {}, got '{}'", least, text);
    }
    text = std::to_string(*bytes);
    return "";
  };
  option.type_name("BYTES")->transform(CLI::Validator(to_bytes, ""));
}

CLI::Option* RefuseEmpty(CLI::Option* option) {
  const auto check = [](const std::string& text) -> std::string {
    return text.empty() ? "expected a value, got an empty one" : "";
  };
  return option->check(CLI::Validator(check, ""));
}

void AddChoices(CLI::Option& option, const std::vector<std::string>& choices) {
  CLI::Validator member = CLI::IsMember(choices);
  option.type_name(fmt::format("{}", fmt::join(choices, "|")))->check(member.description(""));
}

void AddThreads(CLI::App& command, int& threads) {
  command
      .add_option("--threads", threads,
                  "Threads; default: the cores that affinity and cgroup allow")
      ->type_name("NUMBER")
      ->check(CLI::Range(1, 1024).description(""));
}

void AddTensorFlags(CLI::App& command, PlanFlags& flags) {
  AddChoices(*command.add_option(
                 "--dialect", flags.dialect,
                 "Key and tensor layout; default llama.cpp where it loads the family, else ollama"),
             {"llama.cpp", "ollama"});
  AddChoices(*command.add_option("--outtype", flags.outtype,
                                 "Element type of matrices; default auto: from the checkpoint"),
             {"auto", "f32", "f16", "bf16"});
  command.add_flag("--no-mtp", flags.no_mtp,
                   "Leave out multi-token-prediction layers; default: keep them where the dialect "
                   "knows them");
}

void AddPlanFlags(CLI::App& command, PlanFlags& flags) {
  const auto add = [&](const char* name, std::string& value, const char* help, const char* type) {
    return RefuseEmpty(command.add_option(name, value, help)->type_name(type));
  };
  add("CHECKPOINT", flags.checkpoint, "Checkpoint folder: config.json, *.safetensors", "")
      ->required();
  AddTensorFlags(command, flags);
  add("--pre", flags.pre, "Name of the pre-tokenizer; default: recognised from tokenizer.json",
      "NAME");
  add("--chat-template", flags.chat_template,
      "File with the chat template; default: the checkpoint's own", "FILE");
  add("--model-name", flags.model_name,
      "general.name; default: from README.md, config.json or the folder's name", "NAME");
  command
      .add_option(
          "--set", flags.set,
          "Sets a key-value; TYPE is one of u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str; "
          "repeatable; default: none")
      ->type_name("KEY=TYPE:VALUE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  AddQuantizeFlags(command, flags.quantize);
}

Result<Settings> ParseSettings(const std::vector<std::string>& settings) {
  Settings parsed;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return MakeError(ErrorCode::kUsage, "--set wants KEY=TYPE:VALUE").Actual(setting);
    }
    if (equals > kMaxKeyBytes) {
      return MakeError(ErrorCode::kUsage, "--set: the key is too long")
          .Expected(fmt::format("at most {} bytes", kMaxKeyBytes))
          .Actual(fmt::format("{} bytes", equals));
    }
    if (!IsUtf8(setting)) return NotUtf8("--set", setting);
    SLUICE_ASSIGN(gguf::Value value, ParseTypedValue(setting.substr(equals + 1)));
    parsed.emplace_back(setting.substr(0, equals), std::move(value));
  }
  return parsed;
}

Result<PlanOptions> ToPlanOptions(const PlanFlags& flags, bool with_projector) {
  if (!IsUtf8(flags.pre)) return NotUtf8("--pre", flags.pre);
  if (!IsUtf8(flags.model_name)) return NotUtf8("--model-name", flags.model_name);
  PlanOptions options;
  if (flags.dialect == "llama.cpp") options.dialect = arch::Dialect::kLlamaCpp;
  if (flags.dialect == "ollama") options.dialect = arch::Dialect::kOllama;
  if (flags.outtype == "f32") options.outtype = OutType::kF32;
  if (flags.outtype == "f16") options.outtype = OutType::kF16;
  if (flags.outtype == "bf16") options.outtype = OutType::kBF16;
  options.zero_non_finite = flags.quantize.non_finite == "zero";
  options.keep_mtp = !flags.no_mtp;
  options.with_projector = with_projector;
  options.pre = flags.pre;
  options.chat_template_file = flags.chat_template;
  options.model_name = flags.model_name;
  if (!flags.quantize.has_target()) {
    SLUICE_ASSIGN(options.quantize, ToQuantizeRequest(flags.quantize));
  }
  SLUICE_ASSIGN(options.overrides, ParseSettings(flags.set));
  return options;
}

const std::atomic<bool>& CancelOnSignals() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  // The next signal of the same kind meets the default action; blocked calls are not resumed.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // A terminal that closes may send it twice, by the kernel and by the shell; nohup ignores it.
  action.sa_flags = 0;
  struct sigaction inherited {};
  ::sigaction(SIGHUP, nullptr, &inherited);
  if (inherited.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return cancel_requested;
}

}  // namespace sluice::cli

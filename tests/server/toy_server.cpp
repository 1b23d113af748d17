// A server whose model says what it is told, for tests of everything around a model.
//
//   sluice-toy-server [PARALLEL [MAX_WAITING [CONTEXT [PATIENCE_MILLISECONDS]]]]
//
// Prints its port and serves until standard input ends. Tokens are bytes. The answer to a prompt is
// what stands behind "SAY:" in its last user message, up to "|"; further turns of the model after
// the same message say what stands behind further "SAY:". "HOLD" in the message makes the model go
// on with dots, slowly, until a byte comes on standard input; "FAIL" makes it fail. "THROW" makes
// the tokenizer throw.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "byte_tokenizer.h"
#include "runtime/chat_model.h"
#include "server/server.h"

namespace {

using namespace sluice;
using namespace sluice::runtime;

constexpr TokenId kEnd = sluice::testing::kEndToken;
constexpr std::uint32_t kVocabulary = 257;

std::atomic<bool> told_to_end{false};

class ThrowingEncoder : public sluice::testing::ByteEncoder {
 public:
  Status Encode(std::string_view section, std::vector<TokenId>& ids) const override {
    if (section.find("THROW") != std::string_view::npos) throw std::runtime_error("as told");
    return ByteEncoder::Encode(section, ids);
  }
};

// What the model is to say after a text, and what it has said of it already.
struct Script {
  std::string answer;
  std::string said;
};

Script ScriptOf(const std::string& text) {
  constexpr std::string_view kSay = "SAY:";
  constexpr std::string_view kAssistant = "<|assistant|>";
  const std::size_t user = text.rfind("<|user|>");
  const std::string turn = user == std::string::npos ? text : text.substr(user);
  std::size_t say = turn.find(kSay);
  std::size_t said = turn.find('|', say == std::string::npos ? 0 : say);
  std::size_t assistant = turn.find(kAssistant);
  if (assistant != std::string::npos) {
    said = assistant;
    while ((assistant = turn.find(kAssistant, assistant + 1)) != std::string::npos) {
      said = assistant;
      say = turn.find(kSay, say + 1);
    }
    said = turn.find('>', said + kAssistant.size());  // the end of <think> or </think>
  }
  if (say == std::string::npos || said == std::string::npos) return {};
  say += kSay.size();
  return {turn.substr(say, turn.find('|', say) - say), turn.substr(said + 1)};
}

class ScriptedModel : public LanguageModel {
 public:
  explicit ScriptedModel(std::uint32_t context) : context_(context) {}

  [[nodiscard]] std::uint32_t vocab_size() const override { return kVocabulary; }
  [[nodiscard]] std::uint32_t context_length() const override { return context_; }

  Result<SequenceId> CreateSequence() override {
    texts_[next_];
    return next_++;
  }
  void ReleaseSequence(SequenceId sequence) override { texts_.erase(sequence); }
  void TruncateSequence(SequenceId sequence, std::uint32_t length) override {
    texts_.at(sequence).resize(length);
  }

  Status Forward(std::span<const SequenceInput> batch) override {
    for (const SequenceInput& input : batch) {
      std::string& text = texts_.at(input.sequence);
      for (const TokenId token : input.tokens) text += static_cast<char>(token);
      if (text.find("FAIL") != std::string::npos) {
        return MakeError(ErrorCode::kBug, "the toy model was told to fail");
      }
      const bool held = text.find("HOLD") != std::string::npos && !told_to_end.load();
      if (held) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      if (input.logits.empty()) continue;
      const Script script = ScriptOf(text);
      std::fill(input.logits.begin(), input.logits.end(), 0.0F);
      const std::size_t at = script.said.size();
      const TokenId last = held ? TokenId{'.'} : kEnd;
      const TokenId next =
          at < script.answer.size() ? static_cast<std::uint8_t>(script.answer[at]) : last;
      input.logits[next] = 1000.0F;
    }
    return Ok();
  }

 private:
  std::uint32_t context_;
  SequenceId next_ = 1;
  std::map<SequenceId, std::string> texts_;
};

std::uint32_t Argument(int argc, char** argv, int index, std::uint32_t absent) {
  return index < argc ? static_cast<std::uint32_t>(std::strtoul(argv[index], nullptr, 10)) : absent;
}

}  // namespace

int main(int argc, char** argv) {
  server::ServerOptions options;
  options.port = 0;
  options.parallel = Argument(argc, argv, 1, 2);
  options.max_waiting = Argument(argc, argv, 2, 8);
  options.max_body_bytes = 100'000;
  options.request_patience = std::chrono::milliseconds(Argument(argc, argv, 4, 30'000));
  const ChatModel model{std::make_unique<ScriptedModel>(Argument(argc, argv, 3, 4096)),
                        sluice::testing::ByteTokenizer(std::make_unique<ThrowingEncoder>()),
                        {kEnd},
                        {},
                        "toy",
                        {}};
  const auto server = server::Server::Start(model, options);
  if (!server) {
    fmt::print(stderr, "{}\n", server.error().Format());
    return 1;
  }
  fmt::print("{}\n", (*server)->port());
  std::fflush(stdout);
  while (std::getchar() != EOF) told_to_end.store(true);
  return 0;
}

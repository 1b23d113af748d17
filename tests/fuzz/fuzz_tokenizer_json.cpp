// tokenizer.json files: an accepted vocabulary has its added tokens in place and merges of two
// parts.
#include <algorithm>

#include "formats/tokenizer/pre_tokenizers.h"
#include "formats/tokenizer/tokenizer_json.h"
#include "fuzz.h"

namespace sluice::fuzz {
namespace {

void CheckAccepted(const tokenizer::BpeVocabulary& vocabulary) {
  Require(vocabulary.tokens.size() > 0);
  for (const tokenizer::AddedToken& added : vocabulary.added) {
    Require(added.id < vocabulary.tokens.size());
    Require(vocabulary.tokens.StringAt(added.id) == added.text);
    Require(vocabulary.FindAdded(added.text) != nullptr);
  }
  for (const std::uint32_t gap : vocabulary.gaps) {
    Require(gap < vocabulary.tokens.size());
    Require(vocabulary.tokens.StringAt(gap).empty());
  }
  for (std::size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges.StringAt(i);
    Require(std::count(merge.begin(), merge.end(), ' ') == 1);
  }
  const auto name = tokenizer::RecognisePreTokenizer(vocabulary.pre_tokenizer);
  Require(!name || !name->empty());
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      R"({"model":{"vocab":{"a":0,"b":1},"merges":["a b","b a"]}})",
      R"({"added_tokens":[{"id":3,"content":"<s>","special":true},{"id":0,"content":"a"}],
          "pre_tokenizer":{"type":"Sequence","pretokenizers":[
            {"type":"Split","pattern":{"Regex":"\\s+"},"behavior":"Isolated","invert":false},
            {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
          "post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},
            {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},
                                                   {"Sequence":{"id":"A"}}]}]},
          "model":{"type":"BPE","byte_fallback":false,"vocab":{"a":0,"\u0120b":2,"c":1},
                   "merges":[["a","c"],["a b"," "]]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
          "model":{"type":"BPE","byte_fallback":true,"vocab":{"<unk>":0,"<0x0A>":1},
                   "merges":[]}})",
      R"({"added_tokens":[{"id":9,"content":"<s>"}],"model":{"vocab":{"a":2,"b":5},"merges":[]}})",
      R"({"model":{"type":"Unigram","vocab":[["<unk>",0.0]]}})",
  };
}

}  // namespace sluice::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static sluice::fuzz::MemoryFile memory;
  memory.SetContent({reinterpret_cast<const char*>(data), size});
  const auto vocabulary = sluice::tokenizer::ReadTokenizerJson(memory.path());
  if (vocabulary) {
    sluice::fuzz::CheckAccepted(*vocabulary);
  } else {
    sluice::fuzz::Require(!vocabulary.error().Format().empty());
  }
  return 0;
}

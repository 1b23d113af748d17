// sluice-make-checkpoint PRESET OUT: makes a checkpoint with random weights, offline, at the speed
// of the disk. The demo, the benchmarks and the tests use it.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "formats/quant/float_formats.h"
#include "formats/safetensors/writer.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using sluice::Dtype;
using sluice::safetensors::TensorInfo;

// The extents of a family's checkpoint, under the names of config.json.
using Shape = std::map<std::string, std::uint64_t>;

struct Preset {
  std::string family;
  Shape shape;
  std::uint64_t shards;
};

const Shape kGlmHeads{{"num_attention_heads", 20}, {"q_lora_rank", 768},     {"kv_lora_rank", 512},
                      {"qk_nope_head_dim", 192},   {"qk_rope_head_dim", 64}, {"v_head_dim", 256}};

Shape With(Shape shape, const Shape& more) {
  for (const auto& [key, value] : more) shape[key] = value;
  return shape;
}

const std::map<std::string, Preset>& Presets() {
  static const std::map<std::string, Preset> kPresets{
      // A few hundred MB for `./dev demo`.
      {"demo",
       {"glm",
        With(kGlmHeads, {{"hidden_size", 1024},
                         {"intermediate_size", 3072},
                         {"num_hidden_layers", 3},
                         {"moe_intermediate_size", 512},
                         {"n_routed_experts", 32},
                         {"num_experts_per_tok", 4},
                         {"n_shared_experts", 1},
                         {"vocab_size", 2048}}),
        3}},
      // The shape that throughput is measured on: 1.32 G parameters.
      {"glm",
       {"glm",
        With(kGlmHeads, {{"hidden_size", 2048},
                         {"intermediate_size", 4096},
                         {"num_hidden_layers", 3},
                         {"moe_intermediate_size", 1536},
                         {"n_routed_experts", 64},
                         {"num_experts_per_tok", 4},
                         {"n_shared_experts", 1},
                         {"vocab_size", 512}}),
        3}},
      // 100,000 small tensors.
      {"many",
       {"glm",
        {{"num_attention_heads", 4},
         {"q_lora_rank", 16},
         {"kv_lora_rank", 16},
         {"qk_nope_head_dim", 8},
         {"qk_rope_head_dim", 8},
         {"v_head_dim", 12},
         {"hidden_size", 32},
         {"intermediate_size", 64},
         {"num_hidden_layers", 131},
         {"moe_intermediate_size", 16},
         {"n_routed_experts", 256},
         {"num_experts_per_tok", 4},
         {"n_shared_experts", 1},
         {"vocab_size", 512}},
        200}},
      // Transposed experts: every expert matrix is stored [in, out].
      {"llama4",
       {"llama4",
        {{"hidden_size", 1280},
         {"intermediate_size", 2048},
         {"intermediate_size_mlp", 4096},
         {"num_hidden_layers", 8},
         {"num_attention_heads", 10},
         {"num_key_value_heads", 2},
         {"head_dim", 128},
         {"num_local_experts", 16},
         {"num_experts_per_tok", 1},
         {"vocab_size", 512}},
        3}},
  };
  return kPresets;
}

// ---- Tensors ------------------------------------------------------------------------------------

class TensorList {
 public:
  explicit TensorList(Dtype dtype) : dtype_(dtype) {}
  void Add(const std::string& name, std::vector<std::uint64_t> shape) {
    TensorInfo info;
    info.name = name;
    info.dtype = dtype_;
    info.shape = std::move(shape);
    tensors_.push_back(std::move(info));
  }
  std::vector<TensorInfo> Take() { return std::move(tensors_); }

 private:
  Dtype dtype_;
  std::vector<TensorInfo> tensors_;
};

void AddGatedFfn(TensorList& list, const std::string& prefix, std::uint64_t hidden,
                 std::uint64_t width) {
  list.Add(prefix + "gate_proj.weight", {width, hidden});
  list.Add(prefix + "up_proj.weight", {width, hidden});
  list.Add(prefix + "down_proj.weight", {hidden, width});
}

void AddGlmTensors(const Shape& s, TensorList& list) {
  const std::uint64_t hidden = s.at("hidden_size");
  const std::uint64_t heads = s.at("num_attention_heads");
  const std::uint64_t nope = s.at("qk_nope_head_dim");
  const std::uint64_t rope = s.at("qk_rope_head_dim");
  list.Add("lm_head.weight", {s.at("vocab_size"), hidden});
  list.Add("model.embed_tokens.weight", {s.at("vocab_size"), hidden});
  list.Add("model.norm.weight", {hidden});
  for (std::uint64_t layer = 0; layer < s.at("num_hidden_layers"); ++layer) {
    const std::string block = fmt::format("model.layers.{}.", layer);
    const std::string attention = block + "self_attn.";
    list.Add(block + "input_layernorm.weight", {hidden});
    list.Add(block + "post_attention_layernorm.weight", {hidden});
    list.Add(attention + "q_a_proj.weight", {s.at("q_lora_rank"), hidden});
    list.Add(attention + "q_a_layernorm.weight", {s.at("q_lora_rank")});
    list.Add(attention + "q_b_proj.weight", {heads * (nope + rope), s.at("q_lora_rank")});
    list.Add(attention + "kv_a_proj_with_mqa.weight", {s.at("kv_lora_rank") + rope, hidden});
    list.Add(attention + "kv_a_layernorm.weight", {s.at("kv_lora_rank")});
    list.Add(attention + "kv_b_proj.weight",
             {heads * (nope + s.at("v_head_dim")), s.at("kv_lora_rank")});
    list.Add(attention + "o_proj.weight", {hidden, heads * s.at("v_head_dim")});
    if (layer == 0) {
      AddGatedFfn(list, block + "mlp.", hidden, s.at("intermediate_size"));
      continue;
    }
    const std::uint64_t width = s.at("moe_intermediate_size");
    list.Add(block + "mlp.gate.weight", {s.at("n_routed_experts"), hidden});
    list.Add(block + "mlp.gate.e_score_correction_bias", {s.at("n_routed_experts")});
    AddGatedFfn(list, block + "mlp.shared_experts.", hidden, s.at("n_shared_experts") * width);
    for (std::uint64_t expert = 0; expert < s.at("n_routed_experts"); ++expert) {
      AddGatedFfn(list, fmt::format("{}mlp.experts.{}.", block, expert), hidden, width);
    }
  }
}

void AddLlama4Tensors(const Shape& s, TensorList& list) {
  const std::uint64_t hidden = s.at("hidden_size");
  const std::uint64_t width = s.at("intermediate_size");
  const std::uint64_t experts = s.at("num_local_experts");
  const std::uint64_t queries = s.at("num_attention_heads") * s.at("head_dim");
  const std::uint64_t keys = s.at("num_key_value_heads") * s.at("head_dim");
  list.Add("lm_head.weight", {s.at("vocab_size"), hidden});
  list.Add("model.embed_tokens.weight", {s.at("vocab_size"), hidden});
  list.Add("model.norm.weight", {hidden});
  for (std::uint64_t layer = 0; layer < s.at("num_hidden_layers"); ++layer) {
    const std::string block = fmt::format("model.layers.{}.", layer);
    list.Add(block + "input_layernorm.weight", {hidden});
    list.Add(block + "post_attention_layernorm.weight", {hidden});
    list.Add(block + "self_attn.q_proj.weight", {queries, hidden});
    list.Add(block + "self_attn.k_proj.weight", {keys, hidden});
    list.Add(block + "self_attn.v_proj.weight", {keys, hidden});
    list.Add(block + "self_attn.o_proj.weight", {hidden, queries});
    list.Add(block + "feed_forward.router.weight", {experts, hidden});
    list.Add(block + "feed_forward.experts.gate_up_proj", {experts, hidden, 2 * width});
    list.Add(block + "feed_forward.experts.down_proj", {experts, width, hidden});
    AddGatedFfn(list, block + "feed_forward.shared_expert.", hidden, width);
  }
}

// ---- Weights ------------------------------------------------------------------------------------

// Values of a normal distribution, standard deviation 0.02, by a table of its quantiles.
class Weights {
 public:
  explicit Weights(std::uint64_t seed) : state_(seed) {
    for (std::size_t i = 0; i < kQuantiles; ++i) table_[i] = Quantile((i + 0.5) / kQuantiles);
  }

  void Fill(Dtype dtype, std::span<std::byte> out) {
    const std::size_t width = sluice::DtypeBytes(dtype);
    for (std::size_t at = 0; at < out.size(); at += width) {
      const float value = table_[Next()];
      if (dtype == Dtype::kF32) {
        std::memcpy(&out[at], &value, width);
      } else {
        const std::uint16_t bits =
            dtype == Dtype::kF16 ? sluice::quant::F32ToF16(value) : sluice::quant::F32ToBf16(value);
        std::memcpy(&out[at], &bits, width);
      }
    }
  }

 private:
  static constexpr std::size_t kQuantiles = 4096;

  // An approximation of the normal quantile by the logistic one: close enough for weights.
  static float Quantile(double p) {
    constexpr double kScale = 0.02 / 1.702;
    return static_cast<float>(kScale * std::log(p / (1 - p)));
  }

  // xorshift64, the upper bits of it.
  std::size_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::size_t>(state_ >> 52);
  }

  std::uint64_t state_;
  std::array<float, kQuantiles> table_{};
};

sluice::Status WriteShard(const std::string& path, std::vector<TensorInfo>& tensors, bool sparse,
                          Weights& weights) {
  const std::string head = sluice::safetensors::SerializeHead(tensors);
  SLUICE_ASSIGN(sluice::File file, sluice::File::Open(path, O_WRONLY | O_CREAT | O_TRUNC));
  SLUICE_TRY(file.Write(std::as_bytes(std::span(head))));
  if (sparse) {
    const std::uint64_t end = tensors.back().offset + tensors.back().bytes;
    if (::ftruncate(file.descriptor(), static_cast<off_t>(end)) != 0) {
      return sluice::ErrnoError("cannot extend", path, errno);
    }
    return sluice::Ok();
  }
  std::vector<std::byte> buffer(std::size_t{4} << 20);
  for (const TensorInfo& tensor : tensors) {
    for (std::uint64_t done = 0; done < tensor.bytes; done += buffer.size()) {
      const auto part =
          std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), tensor.bytes - done));
      weights.Fill(tensor.dtype, part);
      SLUICE_TRY(file.Write(part));
    }
  }
  return sluice::Ok();
}

sluice::Status WriteJson(const fs::path& path, const ordered_json& json) {
  SLUICE_ASSIGN(sluice::File file, sluice::File::Open(path.string(), O_WRONLY | O_CREAT | O_TRUNC));
  const std::string text = json.dump(1);
  return file.Write(std::as_bytes(std::span(text)));
}

// Cuts the list into shards of about equal size and writes them with their index.
sluice::Status WriteShards(const fs::path& folder, std::vector<TensorInfo> tensors,
                           std::uint64_t shards, bool sparse) {
  Weights weights(0x9E3779B97F4A7C15);
  sluice::safetensors::SerializeHead(tensors);  // fills in the sizes
  std::uint64_t total = 0;
  for (const TensorInfo& tensor : tensors) total += tensor.bytes;
  nlohmann::json map = nlohmann::json::object();
  std::size_t next = 0;
  std::uint64_t written = 0;
  for (std::uint64_t shard = 0; shard < shards; ++shard) {
    std::vector<TensorInfo> part;
    const std::uint64_t end = total / shards * (shard + 1);
    while (next < tensors.size() && (part.empty() || written < end || shard + 1 == shards)) {
      written += tensors[next].bytes;
      part.push_back(std::move(tensors[next++]));
    }
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
    for (const TensorInfo& tensor : part) map[tensor.name] = name;
    SLUICE_TRY(WriteShard((folder / name).string(), part, sparse, weights));
  }
  return WriteJson(folder / "model.safetensors.index.json",
                   {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
}

// ---- Configuration ------------------------------------------------------------------------------

ordered_json GlmConfig(const Shape& shape) {
  ordered_json config{{"architectures", {"Glm4MoeLiteForCausalLM"}},
                      {"model_type", "glm4_moe_lite"},
                      {"hidden_act", "silu"},
                      {"first_k_dense_replace", 1},
                      {"num_nextn_predict_layers", 0},
                      {"num_key_value_heads", shape.at("num_attention_heads")},
                      {"n_group", 1},
                      {"topk_group", 1},
                      {"norm_topk_prob", true},
                      {"routed_scaling_factor", 1.8},
                      {"rms_norm_eps", 1e-5},
                      {"rope_theta", 1000000.0},
                      {"max_position_embeddings", 4096},
                      {"tie_word_embeddings", false}};
  for (const auto& [key, value] : shape) config[key] = value;
  return config;
}

ordered_json Llama4Config(const Shape& shape) {
  ordered_json config{{"architectures", {"Llama4ForCausalLM"}},
                      {"model_type", "llama4_text"},
                      {"hidden_act", "silu"},
                      {"interleave_moe_layer_step", 1},
                      {"use_qk_norm", true},
                      {"attention_chunk_size", 8192},
                      {"rms_norm_eps", 1e-5},
                      {"rope_theta", 500000.0},
                      {"max_position_embeddings", 4096},
                      {"tie_word_embeddings", false}};
  for (const auto& [key, value] : shape) config[key] = value;
  return config;
}

void AppendUtf8(std::string& text, std::uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// The characters that byte-level BPE writes for the 256 bytes: printable ones stand for themselves,
// the others are moved to code points from 256 on.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet;
  std::uint32_t moved = 256;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    AppendUtf8(alphabet.emplace_back(), printable ? byte : moved++);
  }
  return alphabet;
}

// A byte-level BPE tokenizer with `vocab_size` tokens: bytes, pairs of letters, special tokens.
ordered_json TokenizerJson(std::uint64_t vocab_size, const std::vector<std::string>& specials) {
  ordered_json vocab = ordered_json::object();
  ordered_json merges = ordered_json::array();
  for (const std::string& character : ByteAlphabet()) vocab[character] = vocab.size();
  const std::string letters = "etaoinshrdlucmfwygpbvkxqjzETAOINSHRDLUCMFWYGPBVKXQJZ";
  const auto merge = [&](const std::string& left, const std::string& right) {
    if (vocab.size() + specials.size() >= vocab_size || vocab.contains(left + right)) return;
    merges.push_back({left, right});
    vocab[left + right] = vocab.size();
  };
  for (const char first : letters) {
    merge("\u0120", std::string(1, first));
    for (const char second : letters) merge(std::string(1, first), std::string(1, second));
  }
  ordered_json added = ordered_json::array();
  for (const std::string& special : specials) {
    added.push_back({{"id", vocab.size() + added.size()}, {"content", special}, {"special", true}});
  }
  const std::string pattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const ordered_json split{{"type", "Split"},
                           {"pattern", {{"Regex", pattern}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  const ordered_json bytes{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {
      {"version", "1.0"},
      {"added_tokens", added},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"ignore_merges", true}, {"vocab", vocab}, {"merges", merges}}}};
}

sluice::Status Make(const std::string& preset_name, const fs::path& folder, Dtype dtype,
                    const Shape& changes, std::uint64_t shards, bool sparse) {
  const Preset& preset = Presets().at(preset_name);
  const Shape shape = With(preset.shape, changes);
  const bool is_glm = preset.family == "glm";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return sluice::ErrnoError("cannot create folder", folder.string(), error.value());
  const std::vector<std::string> specials =
      is_glm ? std::vector<std::string>{"<|endoftext|>",  "[gMASK]",  "<sop>",
                                        "<|system|>",     "<|user|>", "<|assistant|>",
                                        "<|observation|>"}
             : std::vector<std::string>{"<|begin_of_text|>", "<|end_of_text|>", "<|eot|>"};
  SLUICE_TRY(WriteJson(folder / "config.json", is_glm ? GlmConfig(shape) : Llama4Config(shape)));
  SLUICE_TRY(WriteJson(folder / "tokenizer.json", TokenizerJson(shape.at("vocab_size"), specials)));
  SLUICE_TRY(WriteJson(folder / "tokenizer_config.json",
                       {{"eos_token", is_glm ? "<|endoftext|>" : "<|eot|>"}}));
  TensorList list(dtype);
  is_glm ? AddGlmTensors(shape, list) : AddLlama4Tensors(shape, list);
  return WriteShards(folder, list.Take(), shards == 0 ? preset.shards : shards, sparse);
}

// FIELD=NUMBER each.
sluice::Result<Shape> ParseChanges(const std::vector<std::string>& settings) {
  Shape changes;
  for (const std::string& setting : settings) {
    const std::size_t equals = std::min(setting.find('='), setting.size());
    const char* const end = setting.data() + setting.size();
    std::uint64_t number = 0;
    const char* const begin = std::min(setting.data() + equals + 1, end);
    const auto [parsed, error] = std::from_chars(begin, end, number);
    if (equals == 0 || error != std::errc() || parsed != end) {
      return sluice::MakeError(sluice::ErrorCode::kUsage, "--set wants FIELD=NUMBER")
          .Actual(setting);
    }
    changes[setting.substr(0, equals)] = number;
  }
  return changes;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Make a checkpoint with random weights");
  std::string preset;
  std::string folder;
  std::string dtype_name = "BF16";
  std::vector<std::string> settings;
  std::uint64_t shards = 0;
  bool sparse = false;
  app.add_option("PRESET", preset, "demo, glm, llama4 or many")
      ->required()
      ->check(CLI::IsMember({"demo", "glm", "llama4", "many"}));
  app.add_option("OUT", folder, "Folder to write")->required();
  app.add_option("--dtype", dtype_name, "BF16, F16 or F32; default BF16")
      ->check(CLI::IsMember({"BF16", "F16", "F32"}));
  app.add_option("--set", settings, "FIELD=NUMBER: changes an extent, e.g. num_hidden_layers=90")
      ->expected(1)
      ->take_all();
  app.add_option("--shards", shards, "Number of shards; default: the preset's");
  app.add_flag("--sparse", sparse, "Leave the weights as holes: all zero, no disk space");
  CLI11_PARSE(app, argc, argv);
  sluice::Result<Shape> changes = ParseChanges(settings);
  const sluice::Status made =
      changes ? Make(preset, folder, *sluice::ParseDtype(dtype_name), *changes, shards, sparse)
              : std::move(changes).error();
  if (made) return 0;
  fmt::print(stderr, "error: {}\n", made.error().Format());
  return 1;
}

// A small architecture whose rules tests choose, bound to checkpoints in memory.
#pragma once

#include <gmock/gmock.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/bind.h"
#include "tests/pipeline/shard_fixture.h"

namespace sluice::testing {

using arch::Hp;
using enum arch::Hp;

// hidden 8, vocabulary 10, 2 blocks, 2 heads of 4, feed-forward 6, 12 experts of width 3.
inline arch::HParams SmallHParams() {
  arch::HParams hparams;
  const std::pair<Hp, std::uint64_t> counts[] = {
      {kHidden, 8},  {kVocab, 10}, {kBlocks, 2},   {kHeads, 2},     {kKvHeads, 1},
      {kHeadDim, 4}, {kFfn, 6},    {kExperts, 12}, {kExpertFfn, 3}, {kConvCache, 3}};
  for (const auto& [id, count] : counts) hparams.Set(id, count, true);
  return hparams;
}

inline const arch::TensorRule kEmbedRule{"embed.weight", "token_embd.weight", {kVocab, kHidden}};
inline const arch::TensorRule kNormRule =
    arch::Norm("norm.weight", "output_norm.weight", {kHidden});
inline const arch::TensorRule kDownRule{"down.weight", "ffn_down.weight", {kHidden, kFfn}};
inline const arch::TensorRule kExpertDownRule{"experts.{xid}.down.weight",
                                              "ffn_down_exps.weight",
                                              {kHidden, kExpertFfn},
                                              {arch::StackExperts{}}};

inline arch::TensorGroup InModel(std::span<const arch::TensorRule> rules) {
  return arch::Group({"model."}, "", rules);
}
inline arch::TensorGroup InBlocks(std::span<const arch::TensorRule> rules,
                                  arch::BlockTest where = nullptr) {
  return arch::Group({"model.layers.{bid}."}, "blk.{bid}.", rules, kBlocks, where);
}

inline arch::FileSpec FileOf(std::span<const arch::TensorGroup> groups) {
  arch::FileSpec file{};
  file.gguf_arch = "llama";
  file.groups = groups;
  return file;
}

// What binding one or several files gives. Keeps the checkpoint alive.
class Binding {
 public:
  Binding(std::vector<std::vector<Tensor>> shards, arch::HParams hparams)
      : shards_(std::make_unique<safetensors::ShardSet>(MakeShards(std::move(shards)))),
        index_(std::make_unique<TensorIndex>(*shards_)),
        hparams_(std::make_unique<arch::HParams>(std::move(hparams))),
        binder_(std::make_unique<TensorBinder>(*index_, *hparams_, *problems_)) {}

  std::vector<BoundTensor> Bind(const arch::FileSpec& file) {
    const arch::FileSpec* const pointer = &file;
    std::vector<BoundTensor> bound = binder_->Bind(file);
    binder_->ReportUnused(std::span(&pointer, 1), notes_);
    return bound;
  }
  TensorBinder& binder() { return *binder_; }

  // The printed form of every problem so far.
  [[nodiscard]] std::vector<std::string> Problems() const {
    std::vector<std::string> texts;
    for (const Error& problem : *problems_) texts.push_back(problem.Format());
    return texts;
  }
  [[nodiscard]] const std::vector<Error>& errors() const { return *problems_; }
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  [[nodiscard]] const std::string& SourceName(const BoundSource& source) const {
    return (*index_)[source.position].info->name;
  }

 private:
  std::unique_ptr<safetensors::ShardSet> shards_;
  std::unique_ptr<TensorIndex> index_;
  std::unique_ptr<arch::HParams> hparams_;
  std::unique_ptr<std::vector<Error>> problems_ = std::make_unique<std::vector<Error>>();
  std::unique_ptr<TensorBinder> binder_;
  std::vector<std::string> notes_;
};

inline std::vector<std::string> NamesOf(const std::vector<BoundTensor>& bound) {
  std::vector<std::string> names;
  for (const BoundTensor& tensor : bound) names.push_back(tensor.name);
  return names;
}

// Twelve experts of block 0, spread over the names as a checkpoint does.
inline std::vector<Tensor> TwelveExperts() {
  std::vector<Tensor> experts;
  for (int i = 0; i < 12; ++i) {
    experts.push_back({"model.layers.0.experts." + std::to_string(i) + ".down.weight", {8, 3}});
  }
  return experts;
}

inline void Remove(std::vector<Tensor>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
}

}  // namespace sluice::testing

// What a checkpoint has and no rule takes: left out for a reason, or a problem.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "pipeline/bind.h"

namespace sluice {
namespace {

using arch::FileSpec;
using arch::TensorGroup;
using arch::TensorRule;

// The number of edits that turn one text into the other.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// Source patterns of all rules, with {bid} and {xid} as the index writes numbers.
std::vector<std::string> SourcePatterns(std::span<const FileSpec* const> files) {
  std::set<std::string> patterns;
  for (const FileSpec* file : files) {
    for (const TensorGroup& group : file->groups) {
      for (std::size_t i = 0; i < group.num_prefixes; ++i) {
        for (const TensorRule& rule : group.rules) {
          patterns.insert(std::string(group.source_prefixes[i]) + std::string(rule.source));
        }
      }
    }
  }
  return {patterns.begin(), patterns.end()};
}

// Numbers as PatternOf writes them, so that the names of placeholders do not count.
std::string WithoutNames(std::string pattern) {
  for (const std::string_view token : {kBlockToken, kExpertToken}) {
    const std::size_t at = pattern.find(token);
    if (at != std::string::npos) pattern.replace(at, token.size(), "{}");
  }
  return pattern;
}

// Empty for names so long that no rule resembles them; looking for one would take minutes.
std::string NearestPattern(const std::string& pattern, std::span<const std::string> candidates) {
  constexpr std::size_t kMaxBytes = 256;
  if (pattern.size() > kMaxBytes) return "";
  std::string nearest;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : candidates) {
    const std::size_t distance = EditDistance(pattern, WithoutNames(candidate));
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

// Whether `name` begins with `prefix`, whose {bid} stands for a number; gives what follows.
bool MatchPrefix(std::string_view prefix, std::string_view name, std::uint64_t& block,
                 std::string_view& rest) {
  const std::size_t at = prefix.find(kBlockToken);
  if (!name.starts_with(prefix.substr(0, at))) return false;
  if (at == std::string_view::npos) {
    rest = name.substr(prefix.size());
    return true;
  }
  const std::string_view after = prefix.substr(at + kBlockToken.size());
  const std::size_t end = name.find(after, at);
  if (end == std::string_view::npos) return false;
  const NamePattern number = PatternOf(name.substr(at, end - at));
  if (number.text != "{}") return false;
  block = number.numbers.front();
  rest = name.substr(end + after.size());
  return true;
}

const arch::DroppedTensors* FindDropped(std::span<const FileSpec* const> files,
                                        const arch::HParams& hparams, std::string_view name) {
  for (const FileSpec* file : files) {
    for (const arch::DroppedTensors& dropped : file->dropped) {
      std::uint64_t block = 0;
      std::string_view rest;
      if (!MatchPrefix(dropped.source_prefix, name, block, rest)) continue;
      if (!dropped.name.empty() && dropped.name != rest) continue;
      if (dropped.where == nullptr || dropped.where(hparams, block)) return &dropped;
    }
  }
  return nullptr;
}

}  // namespace

void TensorBinder::ReportUnused(std::span<const FileSpec* const> files,
                                std::vector<std::string>& notes) {
  const std::vector<std::string> patterns = SourcePatterns(files);
  std::map<std::string, std::string> nearest;
  std::map<std::string_view, std::size_t> dropped_counts;
  for (std::uint32_t position = 0; position < index_.size(); ++position) {
    if (used_[position]) continue;
    const std::string& name = index_[position].info->name;
    if (const arch::DroppedTensors* dropped = FindDropped(files, hparams_, name)) {
      if (!dropped->why.empty()) ++dropped_counts[dropped->why];
      continue;
    }
    const std::string pattern = PatternOf(name).text;
    auto known = nearest.find(pattern);
    if (known == nearest.end()) {
      known = nearest.emplace(pattern, NearestPattern(pattern, patterns)).first;
    }
    const std::string nearest_name =
        known->second.empty() ? "" : fmt::format("a name like {}", known->second);
    problems_.push_back(MakeError(ErrorCode::kMismatch, "no rule of this architecture takes it")
                            .At(name)
                            .Expected(nearest_name));
  }
  for (const auto& [why, count] : dropped_counts) {
    notes.push_back(fmt::format("{} tensors left out: {}", count, why));
  }
}

}  // namespace sluice

// Importance matrices: how much each column of a weight matrix matters, measured by the activations
// that met it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/mapped_file.h"
#include "core/result.h"
#include "formats/imatrix/forms.h"

namespace sluice::imatrix {

// An importance matrix file. Only names and counts are kept in memory; the sums are read when they
// are asked for. All const members may be called by several threads at once.
class Reader {
 public:
  // Reads and checks a file of either form. kMissing, kIo; kCorrupt, with entry and offset, for
  // anything that is not valid, also for sums that are negative, not finite, or no activations'.
  static Result<Reader> Open(const std::string& path);

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] const std::vector<Entry>& entries() const { return contents_.entries; }  // by name
  [[nodiscard]] const Entry* Find(std::string_view name) const;
  [[nodiscard]] const std::vector<std::string>& datasets() const { return contents_.datasets; }
  [[nodiscard]] std::uint32_t num_chunks() const { return contents_.num_chunks; }  // 0: unknown

  // The weights of `entry` from its value `first` on: sum / divisor, 1 where there is no data. kIo,
  // kCorrupt when the file changed. REQUIRES: first + out.size() <= entry.values.
  Status ReadWeights(const Entry& entry, std::uint64_t first, std::span<float> out) const;

 private:
  Reader(MappedFile file, Contents contents)
      : file_(std::move(file)), contents_(std::move(contents)) {}

  MappedFile file_;
  Contents contents_;
};

}  // namespace sluice::imatrix

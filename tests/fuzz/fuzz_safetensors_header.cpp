// Safetensors files: whatever is accepted tiles the file, and survives being written again.
#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "formats/safetensors/header.h"
#include "formats/safetensors/writer.h"
#include "fuzz.h"

namespace sluice::fuzz {
namespace {

using safetensors::Header;
using safetensors::TensorInfo;

std::string FileOf(std::string_view header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file.append(header).append(data_bytes, 'x');
}

void CheckAccepted(Header header, std::uint64_t data_start, std::uint64_t file_bytes) {
  std::vector<TensorInfo>& tensors = header.tensors;
  for (std::size_t i = 1; i < tensors.size(); ++i) {
    Require(tensors[i - 1].name < tensors[i].name);
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  std::uint64_t end = data_start;
  for (const TensorInfo& tensor : tensors) {
    Require(tensor.offset == end && tensor.bytes <= file_bytes - end);
    Require(tensor.bytes == *CheckedProduct(tensor.shape) * DtypeBytes(tensor.dtype));
    end += tensor.bytes;
  }
  Require(end == file_bytes);

  std::vector<TensorInfo> written = tensors;
  const std::string head = safetensors::SerializeHead(written);
  const Result<Header> again =
      safetensors::ParseHeader(std::string_view(head).substr(sizeof(std::uint64_t)),
                               head.size() + (file_bytes - data_start), "again");
  Require(again.has_value() && again->tensors.size() == tensors.size());
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      FileOf("{}", 0),
      FileOf(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
      FileOf(R"({"__metadata__":{"format":"pt"},)"
             R"("a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
             R"("b.\u0120":{"dtype":"U8","shape":[],"data_offsets":[12,13]},)"
             R"("c":{"dtype":"F64","shape":[4,0],"data_offsets":[13,13]}}   )",
             13),
      FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
             R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
             2),
  };
}

}  // namespace sluice::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using sluice::safetensors::Header;
  static sluice::fuzz::MemoryFile memory;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  memory.SetContent(input);
  const sluice::File file = sluice::File::Borrow(memory.descriptor(), "fuzz");
  if (const sluice::Result<Header> header = sluice::safetensors::ReadHeader(file)) {
    std::uint64_t length = 0;
    std::memcpy(&length, data, sizeof length);
    sluice::fuzz::CheckAccepted(*header, sizeof length + length, size);
  } else {
    sluice::fuzz::Require(!header.error().Format().empty());
  }
  // The text alone, in front of a file that may be of any size: the input's last byte says which.
  const std::uint64_t data_bytes = size == 0 ? 0 : data[size - 1] % 16;
  if (const sluice::Result<Header> header =
          sluice::safetensors::ParseHeader(input, sizeof(std::uint64_t) + size + data_bytes, "f")) {
    sluice::fuzz::CheckAccepted(*header, sizeof(std::uint64_t) + size,
                                sizeof(std::uint64_t) + size + data_bytes);
  }
  return 0;
}

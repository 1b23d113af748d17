#include "formats/safetensors/writer.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/checked.h"

namespace sluice::safetensors {

std::string SerializeHead(std::span<TensorInfo> tensors, std::string_view format) {
  constexpr std::uint64_t kAlignment = 8;
  // Entry by entry: an ordered JSON object would look up every name in all the others.
  std::string json = R"({"__metadata__":)" + nlohmann::json{{"format", std::string(format)}}.dump();
  std::uint64_t end = 0;
  for (TensorInfo& tensor : tensors) {
    tensor.offset = end;
    tensor.bytes = *CheckedProduct(tensor.shape) * DtypeBytes(tensor.dtype);
    end += tensor.bytes;
    const nlohmann::ordered_json entry{{"dtype", DtypeName(tensor.dtype)},
                                       {"shape", tensor.shape},
                                       {"data_offsets", {tensor.offset, end}}};
    json += "," + nlohmann::json(tensor.name).dump() + ":" + entry.dump();
  }
  json += '}';
  json.resize(RoundUp(json.size(), kAlignment), ' ');
  const std::uint64_t length = json.size();
  std::string head(sizeof length, '\0');
  std::memcpy(head.data(), &length, sizeof length);
  head += json;
  for (TensorInfo& tensor : tensors) tensor.offset += head.size();
  return head;
}

}  // namespace sluice::safetensors

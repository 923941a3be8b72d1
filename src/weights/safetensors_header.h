#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace llm_tp {

/// A tensor of a safetensors file, as its header states it.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;  // "BF16"; one of the format, not always one that can be computed with
  std::vector<std::int64_t> shape;
  std::int64_t elements = 0;
  std::int64_t begin = 0, end = 0;  // bytes of the file
};

/// All tensors of a safetensors file, from its header alone; the data is not touched. `file` is the whole
/// file. A header that breaks the format in any way (JSON, types, sizes, offsets that overlap, leave holes or
/// pass the end) is an Error kBadData that names file_name and the tensor. Memory and time are bounded by the
/// header's bytes.
std::vector<SafetensorsTensor> parse_safetensors_header(std::span<const std::byte> file,
                                                        const std::string& file_name);

/// model.safetensors.index.json: tensor name -> file name. kBadData for broken JSON, no weight_map, a tensor
/// listed twice, or a file name that leaves the folder.
std::unordered_map<std::string, std::string> parse_safetensors_index(std::span<const std::byte> file,
                                                                     const std::string& file_name);

}  // namespace llm_tp

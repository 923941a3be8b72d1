#include "weights/safetensors.h"

#include <set>
#include <utility>

#include "weights/matrix_slice.h"

namespace llm_tp {
namespace {

std::optional<DType> usable(const std::string& dtype) {
  if (dtype == "F32") return DType::kF32;
  if (dtype == "F16") return DType::kF16;
  if (dtype == "BF16") return DType::kBF16;
  return std::nullopt;
}

}  // namespace

SafetensorsSource::SafetensorsSource(const std::filesystem::path& folder, TensorNames own_names)
    : names_(own_names) {
  const std::filesystem::path single = folder / "model.safetensors",
                              index = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    add_file(single);
    find_quantised(folder);
    return;
  }
  if (!std::filesystem::exists(index, ignored))
    throw Error(ExitCode::kMissingFile,
                folder.string() +
                    ": no model.safetensors and no model.safetensors.index.json; wanted a folder as "
                    "Hugging Face publishes it, with its weights downloaded");
  const MappedFile index_file(index);
  const auto files = parse_safetensors_index(index_file.bytes(), index.string());
  std::set<std::string> names;  // each file once, in an order that does not depend on hashing
  for (const auto& [tensor, file] : files) names.insert(file);
  for (const std::string& name : names) {
    if (!std::filesystem::exists(folder / name, ignored))
      throw Error(ExitCode::kMissingFile, (folder / name).string() + ": does not exist, but " +
                                              index.filename().string() +
                                              " names it; download the missing part");
    add_file(folder / name);
  }
  check_index(index, files);
  find_quantised(folder);
}

void SafetensorsSource::find_quantised(const std::filesystem::path& folder) {
  const auto config = QuantisationConfig::from_folder(folder);
  if (!config) return;
  const auto find = [&](const std::string& name) -> std::optional<StoredTensor> {
    const auto at = entries_.find(name);
    if (at == entries_.end()) return std::nullopt;
    const auto& [file, tensor] = at->second;
    return StoredTensor{files_[file].path().string() + ": tensor " + tensor.name, tensor.dtype, tensor.shape,
                        files_[file].bytes().subspan(static_cast<std::size_t>(tensor.begin),
                                                     static_cast<std::size_t>(tensor.end - tensor.begin))};
  };
  for (const auto& [name, entry] : entries_) {
    for (const std::string_view ending : {".qweight", ".weight_packed", ".weight"}) {
      if (!name.ends_with(ending)) continue;
      const std::string module = name.substr(0, name.size() - ending.size());
      if (auto matrix = make_quantised_matrix(*config, find, module))
        quantised_.emplace(module + ".weight", std::move(matrix));
    }
  }
  if (quantised_.empty())
    throw Error(ExitCode::kBadData, config->where +
                                        ": no tensor of the checkpoint is quantised like that; "
                                        "config.json and weights do not belong together");
  // Scales, zero points and orders are no parameters, and a word of codes holds several.
  parameters_ = 0;
  for (const auto& [name, matrix] : quantised_) parameters_ += matrix->info().rows * matrix->info().columns;
  for (const auto& [name, entry] : entries_) {
    const std::string module = name.substr(0, name.rfind('.'));
    if (!quantised_.contains(module + ".weight") || name == module + ".bias")
      parameters_ += entry.tensor.elements;
  }
}

const QuantisedMatrix* SafetensorsSource::quantised(WeightKey key) const {
  const auto at = quantised_.find(huggingface_name(key, names_));
  return at == quantised_.end() ? nullptr : at->second.get();
}

void SafetensorsSource::add_file(const std::filesystem::path& path) {
  const MappedFile& file = files_.emplace_back(path);
  for (SafetensorsTensor& tensor : parse_safetensors_header(file.bytes(), path.string())) {
    parameters_ += tensor.elements;
    std::string name = tensor.name;
    const auto [at, added] =
        entries_.try_emplace(std::move(name), Entry{files_.size() - 1, std::move(tensor)});
    if (!added)
      throw Error(ExitCode::kBadData, path.string() + ": tensor " + at->first + " is also in " +
                                          files_[at->second.file].path().filename().string() +
                                          "; the files are not of one checkpoint: download it again");
  }
}

void SafetensorsSource::check_index(const std::filesystem::path& index,
                                    const std::unordered_map<std::string, std::string>& files) const {
  const auto refuse = [&](const std::string& what) {
    throw Error(ExitCode::kBadData, index.string() + ": " + what +
                                        "; index and files are not of one checkpoint: download it again");
  };
  for (const auto& [name, file] : files) {
    const auto at = entries_.find(name);
    if (at == entries_.end()) refuse("tensor " + name + " should be in " + file + " and is not");
    const std::string found = files_[at->second.file].path().filename().string();
    if (found != file) refuse("tensor " + name + " should be in " + file + " and is in " + found);
  }
  for (const auto& [name, entry] : entries_)
    if (!files.contains(name))
      refuse("tensor " + name + " is in " + files_[entry.file].path().filename().string() +
             " and not in the index");
}

const SafetensorsSource::Entry* SafetensorsSource::entry(WeightKey key) const {
  const auto at = entries_.find(huggingface_name(key, names_));
  return at == entries_.end() ? nullptr : &at->second;
}

WeightInfo SafetensorsSource::info_of(const Entry& entry) const {
  const SafetensorsTensor& tensor = entry.tensor;
  const std::string where = files_[entry.file].path().string() + ": tensor " + tensor.name;
  const std::optional<DType> dtype = usable(tensor.dtype);
  if (!dtype)
    throw Error(ExitCode::kBadData, where + " is of dtype " + tensor.dtype +
                                        ", wanted F32, F16 or BF16, or a quantization_config in config.json "
                                        "that tells how it is quantised");
  if (tensor.shape.empty() || tensor.shape.size() > 2)
    throw Error(ExitCode::kBadData,
                where + " has " + std::to_string(tensor.shape.size()) +
                    " dimensions, wanted a vector or a matrix; the model is of another kind");
  const bool vector = tensor.shape.size() == 1;
  return {tensor.name, *dtype, vector ? 1 : tensor.shape[0], tensor.shape.back()};
}

std::optional<WeightInfo> SafetensorsSource::find(WeightKey key) const {
  if (const QuantisedMatrix* matrix = quantised(key)) return matrix->info();
  const Entry* found = entry(key);
  return found ? std::optional(info_of(*found)) : std::nullopt;
}

void SafetensorsSource::read(WeightKey key, Range rows, Range columns, std::byte* out) const {
  if (const QuantisedMatrix* matrix = quantised(key)) return matrix->read(rows, columns, out);
  const Entry* found = entry(key);
  LLM_TP_CHECK(found != nullptr, "no tensor " + huggingface_name(key, names_));
  const auto& [file, tensor] = *found;
  const auto begin = static_cast<std::size_t>(tensor.begin),
             size = static_cast<std::size_t>(tensor.end - tensor.begin);
  copy_slice(info_of(*found), files_[file].bytes().subspan(begin, size), rows, columns, out);
}

void SafetensorsSource::release(WeightKey key) const {
  if (const QuantisedMatrix* matrix = quantised(key)) {
    // release() is advice about addresses: any file of the checkpoint can give it.
    for (const std::span<const std::byte> part : matrix->parts()) files_.front().release(part);
    return;
  }
  const Entry* found = entry(key);
  if (!found) return;
  const MappedFile& file = files_[found->file];
  const auto begin = static_cast<std::size_t>(found->tensor.begin),
             end = static_cast<std::size_t>(found->tensor.end);
  file.release(file.bytes().subspan(begin, end - begin));
}

std::int64_t SafetensorsSource::file_bytes() const {
  std::int64_t bytes = 0;
  for (const MappedFile& file : files_) bytes += static_cast<std::int64_t>(file.bytes().size());
  return bytes;
}

}  // namespace llm_tp

#include "model/adapters/files.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/json_file.h"
#include "model/config_keys.h"
#include "weights/matrix_slice.h"

namespace llm_tp {
namespace {

bool can_be_adapted(WeightRole role) {
  switch (role) {
    case WeightRole::kQuery:
    case WeightRole::kKey:
    case WeightRole::kValue:
    case WeightRole::kQkv:
    case WeightRole::kOutput:
    case WeightRole::kGate:
    case WeightRole::kUp:
    case WeightRole::kGateUp:
    case WeightRole::kDown:
      return true;
    default:
      return false;
  }
}

MappedFile open_tensors(const std::filesystem::path& folder) {
  const auto path = folder / "adapter_model.safetensors";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw Error(ExitCode::kMissingFile,
                path.string() + ": does not exist; wanted a PEFT folder saved with safetensors");
  return MappedFile(path);
}

std::optional<DType> dtype_of(const SafetensorsTensor& tensor) {
  if (tensor.dtype == "F32") return DType::kF32;
  if (tensor.dtype == "F16") return DType::kF16;
  if (tensor.dtype == "BF16") return DType::kBF16;
  return std::nullopt;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (std::int64_t n : shape) text += (text.empty() ? "" : " x ") + std::to_string(n);
  return text.empty() ? "a single number" : text;
}

/// The A and B of one module.
struct Pair {
  std::optional<SafetensorsTensor> a, b;
};

/// By module. Errors: kBadData for a tensor that is neither.
std::map<std::string, Pair> pairs_of(const MappedFile& file) {
  constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";
  const std::string where = file.path().string();
  std::map<std::string, Pair> pairs;
  for (SafetensorsTensor& tensor : parse_safetensors_header(file.bytes(), where)) {
    const std::string name = tensor.name;
    const bool is_a = name.ends_with(kA), is_b = name.ends_with(kB);
    if (!name.starts_with(kPrefix) || (!is_a && !is_b))
      refuse_model(where, "tensor " + name + " is not base_model.model.MODULE.lora_A.weight or " +
                              "lora_B.weight; embedding adapters, DoRA and whole modules are not supported");
    Pair& pair = pairs[name.substr(kPrefix.size(), name.size() - kPrefix.size() - kA.size())];
    (is_a ? pair.a : pair.b) = std::move(tensor);
  }
  return pairs;
}

std::map<std::string, ModelTensor> matrices_of(const ModelShape& shape) {
  constexpr std::string_view kEnding = ".weight";
  std::map<std::string, ModelTensor> all;
  for (const ModelTensor& tensor : tensors_of(shape)) {
    const std::string name = huggingface_name(tensor.key, shape.style.names);
    if (name.ends_with(kEnding)) all.emplace(name.substr(0, name.size() - kEnding.size()), tensor);
  }
  return all;
}

void check_targets(const AdapterConfig& config, const std::vector<AdapterModule>& modules,
                   const std::string& tensors) {
  if (config.targets.empty()) return;
  for (const std::string& target : config.targets)
    if (std::none_of(modules.begin(), modules.end(),
                     [&](const AdapterModule& m) { return names_module(target, m.name); }))
      refuse_model(config.where, "target_modules names \"" + target.substr(0, 80) + "\", but " + tensors +
                                     " has no tensor of such a module");
  for (const AdapterModule& module : modules)
    if (std::none_of(config.targets.begin(), config.targets.end(),
                     [&](const std::string& target) { return names_module(target, module.name); }))
      refuse_model(tensors, "has tensors of " + module.name + ", which target_modules of " + config.where +
                                " does not name");
}

}  // namespace

AdapterFiles::AdapterFiles(const std::filesystem::path& folder, const ModelShape& shape)
    : file_([&] {
        std::error_code ignored;
        if (!std::filesystem::is_directory(folder, ignored))
          throw Error(ExitCode::kMissingFile, folder.string() + ": no such folder; wanted a PEFT adapter");
        return open_tensors(folder);
      }()) {
  const auto config_json = folder / "adapter_config.json";
  const AdapterConfig config = AdapterConfig::from_json(read_json_object(config_json), config_json.string());
  const std::string where = file_.path().string();
  const std::map<std::string, ModelTensor> matrices = matrices_of(shape);
  for (auto& [name, pair] : pairs_of(file_)) {
    const auto base = matrices.find(name);
    if (base == matrices.end())
      refuse_model(where,
                   "adapts " + name + ", which the model does not have; the adapter is for another base");
    if (!can_be_adapted(base->second.key.role))
      refuse_model(where, "adapts " + name + "; only attention's and dense MLPs' projections can be adapted");
    if (!pair.a || !pair.b)
      refuse_model(where,
                   name + " has lora_" + (pair.a ? "A" : "B") + " and no lora_" + (pair.a ? "B" : "A"));
    const std::int64_t rank = config.rank_of(name);
    check_tensor(*pair.a, rank, base->second.columns);
    check_tensor(*pair.b, base->second.rows, rank);
    modules_.push_back({base->second.key, name, rank, static_cast<float>(config.scale_of(name)),
                        std::move(*pair.a), std::move(*pair.b)});
  }
  if (modules_.empty()) refuse_model(where, "holds no tensors");
  check_targets(config, modules_, where);
}

void AdapterFiles::check_tensor(const SafetensorsTensor& tensor, std::int64_t rows,
                                std::int64_t columns) const {
  const std::string where = file_.path().string();
  if (!dtype_of(tensor))
    refuse_model(where,
                 "tensor " + tensor.name + " is of dtype " + tensor.dtype + ", wanted F32, F16 or BF16");
  if (tensor.shape != std::vector<std::int64_t>{rows, columns})
    refuse_model(where, "tensor " + tensor.name + " has shape " + shape_text(tensor.shape) +
                            ", the model and the rank in adapter_config.json want " +
                            shape_text({rows, columns}) + "; the adapter is for another base");
}

const AdapterModule* AdapterFiles::find(WeightKey key) const {
  const auto at =
      std::find_if(modules_.begin(), modules_.end(), [&](const AdapterModule& m) { return m.key == key; });
  return at == modules_.end() ? nullptr : &*at;
}

void AdapterFiles::read(const SafetensorsTensor& tensor, Range rows, Range columns, float* out) const {
  const WeightInfo info{tensor.name, *dtype_of(tensor), tensor.shape[0], tensor.shape[1]};
  std::vector<std::byte> raw(static_cast<std::size_t>(rows.size() * row_bytes(info.dtype, columns.size())));
  copy_slice(info,
             file_.bytes().subspan(static_cast<std::size_t>(tensor.begin),
                                   static_cast<std::size_t>(tensor.end - tensor.begin)),
             rows, columns, raw.data());
  convert_row(info.dtype, raw.data(), DType::kF32, reinterpret_cast<std::byte*>(out),
              rows.size() * columns.size());
}

}  // namespace llm_tp

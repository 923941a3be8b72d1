#include "weights/quantised/config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_file.h"

namespace llm_tp {
namespace {

using nlohmann::json;
using Method = QuantisationConfig::Method;

constexpr std::int64_t kMostColumns = std::int64_t{1} << 31;

/// One object of the file; null counts as absent.
class Keys {
 public:
  Keys(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object())
      throw Error(ExitCode::kBadData, where_ + " is " + shown(object) + ", wanted an object");
  }
  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  std::string text(const char* key, const char* otherwise = "") const {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) refuse(key, "wanted a string");
    return value->get<std::string>();
  }
  std::int64_t integer(const char* key, std::int64_t otherwise) const {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number_integer()) refuse(key, "wanted a whole number");
    return value->get<std::int64_t>();
  }
  bool boolean(const char* key, bool otherwise) const {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(key, "wanted true or false");
    return value->get<bool>();
  }
  [[noreturn]] void refuse(const char* key, const std::string& what) const {
    const json* value = find(key);
    throw Error(ExitCode::kBadData,
                where_ + "." + key + " is " + (value == nullptr ? "missing" : shown(*value)) + ": " + what);
  }
  Keys inner(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) refuse(key, "wanted an object");
    return {*value, where_ + "." + key};
  }
  const std::string& where() const { return where_; }

 private:
  static std::string shown(const json& value) {
    const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    return text.size() > 80 ? text.substr(0, 80) + "…" : text;
  }
  const json& object_;
  std::string where_;
};

void read_bits(const Keys& keys, const char* key, QuantisationConfig& config) {
  const std::int64_t bits = keys.integer(key, 0);
  if (bits != 4 && bits != 8) keys.refuse(key, "supported are 4 and 8");
  config.bits = static_cast<int>(bits);
}
void read_group(const Keys& keys, const char* key, QuantisationConfig& config) {
  const std::int64_t group = keys.integer(key, -1);
  if (group != -1 && (group <= 0 || group % 32 != 0 || group > kMostColumns))
    keys.refuse(key, "supported are multiples of 32, and -1 for whole rows");
  config.group = group == -1 ? 0 : group;
}

/// [rows, columns] that share a scale.
void read_block(const Keys& keys, const char* key, QuantisationConfig& config) {
  const json* value = keys.find(key);
  if (value == nullptr) return;
  const auto whole = [](const json& n) { return n.is_number_integer() && n >= 1 && n <= 65536; };
  if (!value->is_array() || value->size() != 2 || !whole((*value)[0]) || !whole((*value)[1]))
    keys.refuse(key, "wanted two whole numbers, rows and columns");
  config.block_rows = (*value)[0].get<std::int64_t>();
  config.block_columns = (*value)[1].get<std::int64_t>();
}

void read_gptq(const Keys& keys, QuantisationConfig& config) {
  read_bits(keys, "bits", config);
  read_group(keys, "group_size", config);
  const std::string format = keys.text("checkpoint_format", "gptq");
  if (format != "gptq" && format != "gptq_v2")
    keys.refuse("checkpoint_format", "supported are gptq and gptq_v2");
  config.zeros_less_one = format == "gptq";
}

void read_awq(const Keys& keys, QuantisationConfig& config) {
  read_bits(keys, keys.find("bits") != nullptr ? "bits" : "w_bit", config);
  if (config.bits != 4) keys.refuse("bits", "supported is 4");
  read_group(keys, keys.find("group_size") != nullptr ? "group_size" : "q_group_size", config);
  const std::string version = keys.text("version", "gemm");
  if (version != "gemm" && version != "GEMM")
    keys.refuse("version", "supported is gemm; gemv packs its words in another order");
  if (!keys.boolean("zero_point", true)) keys.refuse("zero_point", "supported is true");
}

/// The groups of layers of a checkpoint may differ in scheme; their weights may not.
void read_compressed_tensors(const Keys& keys, QuantisationConfig& config) {
  const std::string format = keys.text("format", "dense");
  if (format != "float-quantized" && format != "pack-quantized" && format != "int-quantized" &&
      format != "naive-quantized")
    keys.refuse(
        "format",
        "supported are float-quantized, naive-quantized, int-quantized and pack-quantized; sparse and "
        "other formats are not");
  const Keys groups = keys.inner("config_groups");
  bool first = true;
  for (const auto& [name, scheme] : keys.find("config_groups")->items()) {
    const Keys weights = groups.inner(name.c_str()).inner("weights");
    QuantisationConfig own;
    read_bits(weights, "num_bits", own);
    read_group(weights, "group_size", own);
    if (weights.text("type", "int") == "float" && own.bits != 8)
      weights.refuse("num_bits", "supported floats have 8 bits (e4m3)");
    read_block(weights, "block_structure", own);
    if (!first && (own.bits != config.bits || own.group != config.group ||
                   own.block_rows != config.block_rows || own.block_columns != config.block_columns))
      throw Error(ExitCode::kBadData, weights.where() +
                                          " differs from the group before it in num_bits, "
                                          "group_size or block_structure, which is not supported");
    own.method = config.method;
    own.where = config.where;
    config = own;
    first = false;
  }
  if (first) keys.refuse("config_groups", "wanted at least one group");
}

void read_fp8(const Keys& keys, QuantisationConfig& config) {
  const std::string format = keys.text("fmt", "e4m3");
  if (format != "e4m3") keys.refuse("fmt", "supported is e4m3");
  read_block(keys, "weight_block_size", config);
}

}  // namespace

std::optional<QuantisationConfig> QuantisationConfig::from_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const json object = read_json_object(path);
  const auto at = object.find("quantization_config");
  if (at == object.end() || at->is_null()) return std::nullopt;
  return from_json(*at, path.string() + ": quantization_config");
}

QuantisationConfig QuantisationConfig::from_json(const json& value, const std::string& where) {
  QuantisationConfig config;
  config.where = where;
  const Keys keys(value, where);
  const std::string method = keys.text("quant_method");
  if (method == "gptq") {
    config.method = Method::kGptq;
    read_gptq(keys, config);
  } else if (method == "awq") {
    config.method = Method::kAwq;
    read_awq(keys, config);
  } else if (method == "compressed-tensors") {
    config.method = Method::kCompressedTensors;
    read_compressed_tensors(keys, config);
  } else if (method == "fp8" || method == "fbgemm_fp8") {
    config.method = Method::kFp8;
    read_fp8(keys, config);
  } else if (method == "bitsandbytes") {
    keys.refuse("quant_method",
                "its 4-bit codes and nested scales are laid out for that library's own kernels; use the "
                "unquantised checkpoint with --dtype q4_0 or q8_0, or a GPTQ, AWQ or GGUF one");
  } else {
    keys.refuse("quant_method", "supported are gptq, awq, fp8, fbgemm_fp8 and compressed-tensors");
  }
  return config;
}

}  // namespace llm_tp

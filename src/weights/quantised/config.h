#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace llm_tp {

/// What "quantization_config" of a config.json says about the weights. How activations and the KV cache were
/// quantised is not taken over: products here are of exact or of rounded activations, as `activations` says.
struct QuantisationConfig {
  enum class Method {
    kGptq,
    kAwq,
    kFp8,               // F8_E4M3 weights with scales by tensor, row or block
    kCompressedTensors  // integers, packed or I8, and F8_E4M3
  };
  Method method = Method::kGptq;
  std::string where;                               // the file and key, for messages
  int bits = 0;                                    // of integers
  std::int64_t group = 0;                          // columns that share a scale; 0: whole rows
  std::int64_t block_rows = 0, block_columns = 0;  // that share a scale of floats; 0: no blocks
  bool zeros_less_one = false;                     // GPTQ's first format stores each zero point less one

  /// The value of the key; `where` names it. Errors: kBadData names the key and what is supported.
  static QuantisationConfig from_json(const nlohmann::json& value, const std::string& where);
  /// nullopt without the key. Errors: as from_json.
  static std::optional<QuantisationConfig> from_folder(const std::filesystem::path& folder);
};

}  // namespace llm_tp

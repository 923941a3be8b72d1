#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace llm_tp {

class GgufFile;

/// Rotary position embedding (Su et al. 2021): angle of pair i at position p is p * frequency(i).
struct RopeSettings {
  enum class Kind { kPlain, kLinear, kLlama3 };
  Kind kind = Kind::kPlain;
  double theta = 10000;
  double factor = 1;                                                                    // linear, llama3
  double low_frequency_factor = 1, high_frequency_factor = 4, original_context = 8192;  // llama3
  std::vector<double> divisors;  // of each frequency, where a GGUF file brings them; else empty
};

/// What a decoder of the Llama kind looks like: Llama 1 to 3, Mistral, Qwen2, SmolLM2.
struct ModelShape {
  std::string architecture;  // as the file names it
  std::int64_t hidden = 0, layers = 0, query_heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t mlp_columns = 0, vocabulary = 0, context = 0;
  double norm_epsilon = 1e-5;
  bool tied_embeddings = false;  // the LM head is the embedding
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  std::int64_t window = 0;  // sliding window of every layer; 0: none
  RopeSettings rope;
  DType checkpoint_dtype = DType::kF32;  // config.json's torch_dtype, for dummy weights
  std::int64_t group() const noexcept { return query_heads / kv_heads; }

  /// From a Hugging Face config.json. Errors: kMissingFile; kBadData names the key, what was found and what
  /// is supported.
  static ModelShape from_config(const std::filesystem::path& config_json);
  static ModelShape from_gguf(const GgufFile& file);

 private:
  void check(const std::string& where) const;
};

}  // namespace llm_tp

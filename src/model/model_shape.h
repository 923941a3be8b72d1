#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/activation.h"
#include "kernels/routing.h"
#include "model/rope_settings.h"
#include "weights/weight_names.h"

namespace llm_tp {

class GgufFile;

/// Where a layer has norms: on the input of attention and MLP (Llama), on their output (OLMo 2), or both
/// (Gemma 2).
enum class NormPlaces { kBefore, kAfter, kAround };
/// Norms of q and k before they are rotated: of every head by itself (Qwen3), or of all heads together
/// (OLMo 2).
enum class QueryKeyNorm { kNone, kHeads, kWhole };

/// How the layers of a family are built; the forward pass and the loader read it.
struct LayerStyle {
  NormPlaces norms = NormPlaces::kBefore;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  Activation activation = Activation::kSilu;
  bool fused_tensors = false;  // q, k and v lie in one tensor of the checkpoint, and gate and up in one
  bool norm_adds_one = false;  // a stored norm weight w stands for 1 + w
  TensorNames names = {};      // that differ from Llama's
  bool before() const noexcept { return norms != NormPlaces::kAfter; }
  bool after() const noexcept { return norms != NormPlaces::kBefore; }
};

/// Angles of a layer's rotary embedding: none at all (SmolLM3), the model's, or those of Gemma 3's windowed
/// layers.
enum class LayerRope { kNone, kMain, kLocal };

/// What one layer has of its own.
struct LayerShape {
  std::int64_t window = 0;  // > 0: sliding
  LayerRope rope = LayerRope::kMain;
  bool experts = false;  // a mixture of experts instead of one MLP
};

/// A mixture of experts (Shazeer et al. 2017; Fedus et al. 2022).
struct ExpertShape {
  std::int64_t count = 0, chosen = 0;  // of a layer; of them, for a token
  std::int64_t columns = 0;            // width of one expert
  std::int64_t shared_columns = 0;     // of the expert that every token takes; 0: none
  bool normalise = true;               // the weights of the chosen ones add up to 1
  RouterRule rule() const noexcept {
    return {static_cast<std::int32_t>(count), static_cast<std::int32_t>(chosen), normalise};
  }
};

/// What a decoder looks like, from config.json or GGUF metadata.
struct ModelShape {
  std::string architecture;  // as the file names it
  std::int64_t hidden = 0, layers = 0, query_heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t mlp_columns = 0;  // of layers without experts; 0 where every layer has them
  std::int64_t vocabulary = 0, context = 0;
  double norm_epsilon = 1e-5;
  bool tied_embeddings = false;  // the LM head is the embedding
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  std::vector<LayerShape> each_layer;  // empty: all are plain
  ExpertShape experts;
  LayerStyle style;
  RopeSettings rope;
  std::optional<RopeSettings> local_rope;

  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;  // factors
  double attention_scale = 0;                                       // of q . k; 0: 1 / sqrt(head_dim)
  double attention_cap = 0, logit_cap = 0;                          // x becomes cap * tanh(x / cap); 0: none
  DType checkpoint_dtype = DType::kF32;  // config.json's torch_dtype, for dummy weights
  bool interleaved_heads = false;        // rows of q and k as llama.cpp stores them

  std::int64_t group() const noexcept { return query_heads / kv_heads; }
  LayerShape layer(std::int64_t i) const {
    return each_layer.empty() ? LayerShape{} : each_layer[static_cast<std::size_t>(i)];
  }
  bool any_dense_layer() const;

  /// From a Hugging Face config.json. Errors: kMissingFile; kBadData names the key, what was found and what
  /// is supported.
  static ModelShape from_config(const std::filesystem::path& config_json);
  /// Of its parsed content; `where` names it in errors.
  static ModelShape from_config(const nlohmann::json& config, const std::string& where);
  static ModelShape from_gguf(const GgufFile& file);
  /// Errors: kBadData for sizes that contradict each other or no model has.
  void check(const std::string& where) const;
};

/// A tensor of the model's checkpoint.
struct ModelTensor {
  WeightKey key;
  std::int64_t rows, columns;  // 1 row for vectors
};
/// All of them.
std::vector<ModelTensor> tensors_of(const ModelShape& shape);

}  // namespace llm_tp

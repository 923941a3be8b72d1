#include "model/families/family.h"

namespace llm_tp {
namespace {

void read(const ConfigKeys& keys, ModelShape&) {
  if (keys.boolean("attention_bias", false)) keys.refuse("attention_bias true is not supported for OLMo 2");
}

}  // namespace

/// OLMo 2 (OLMo team 2024): norms on the outputs of attention and MLP, and one norm over all heads of q and
/// one over all of k.
const Family kOlmo2{.architecture = "Olmo2ForCausalLM",
                    .gguf = "olmo2",
                    .style = {.norms = NormPlaces::kAfter, .query_key_norm = QueryKeyNorm::kWhole},
                    .gguf_interleaves = false,
                    .has_experts = false,
                    .defaults = {.norm_epsilon = 1e-5},
                    .read_config = read,
                    .read_gguf = nullptr};

}  // namespace llm_tp

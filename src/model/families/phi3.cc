#include "model/families/family.h"

namespace llm_tp {
namespace {

void read(const ConfigKeys& keys, ModelShape& shape) { set_window(shape, window_of(keys, 0)); }

}  // namespace

/// Phi-3 and Phi-4 (Abdin et al. 2024): q, k, v in one tensor, gate and up in one.
const Family kPhi3{.architecture = "Phi3ForCausalLM",
                   .gguf = "phi3",
                   .style = {.fused_tensors = true},
                   .gguf_interleaves = false,
                   .has_experts = false,
                   .defaults = {.context = 4096, .norm_epsilon = 1e-5},
                   .read_config = read,
                   .read_gguf = nullptr};

}  // namespace llm_tp

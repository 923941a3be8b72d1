#pragma once
#include <cstdint>

namespace llm_tp {

using TokenId = std::int32_t;  // of the model's vocabulary, 0 .. vocab - 1
using PageId = std::int32_t;   // of a rank's KV cache; the same id means the same positions on every rank

}  // namespace llm_tp

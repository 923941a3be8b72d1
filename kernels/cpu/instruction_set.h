#pragma once
#include <string>

namespace llm_tp {

/// The SIMD target that the ops run on: "avx2", "avx512" or "neon". All give the same bits. Errors:
/// kUnavailable on a processor that has none of them.
std::string instruction_set();

}  // namespace llm_tp

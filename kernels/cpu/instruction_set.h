#pragma once
#include <string_view>
#include <vector>

namespace llm_tp {

/// What the ops run on, in the order of preference. All give the same bits (docs/numerics.md).
enum class InstructionSet {
  kAvx2,        // with FMA and F16C
  kAvx512,      // F, BW, DQ, VL; products of linear layers run on AVX2
  kAvx512Vnni,  // with VNNI and the rest that Ice Lake and Zen 4 have
};

/// "avx2", "avx512" or "avx512 vnni".
std::string_view name_of(InstructionSet set) noexcept;

/// Those that this processor has. Errors: kUnavailable on a processor that has none of them.
std::vector<InstructionSet> instruction_sets();

/// The one in use: the best unless use_instruction_set() chose another. Errors: as above.
InstructionSet instruction_set();

/// Makes all ops of the process run on `set`, so that instruction sets can be compared. Not while ops run.
/// Errors: kUnavailable where the processor does not have it.
void use_instruction_set(InstructionSet set);

}  // namespace llm_tp

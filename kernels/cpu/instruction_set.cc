#include "kernels/cpu/instruction_set.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "base/error.h"
#include "kernels/cpu/simd_targets.h"

#include <hwy/highway.h>

namespace llm_tp {
namespace {

/// Highway's targets up to that of `set`; its bits are smaller the better the target.
std::int64_t targets_up_to(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx2:
      return HWY_AVX2;
    case InstructionSet::kAvx512:
      return HWY_AVX2 | HWY_AVX3;
    case InstructionSet::kAvx512Vnni:
      break;
  }
  return HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL;
}

std::int64_t target_of(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? HWY_AVX2 : set == InstructionSet::kAvx512 ? HWY_AVX3 : HWY_AVX3_DL;
}

std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> found;
  for (const auto set : {InstructionSet::kAvx2, InstructionSet::kAvx512, InstructionSet::kAvx512Vnni})
    if ((hwy::SupportedTargets() & target_of(set)) != 0) found.push_back(set);
  if (found.empty())
    throw Error(
        ExitCode::kUnavailable,
        "this processor has no AVX2 with FMA and F16C (x86-64, 2013 and later), which the CPU backend "
        "computes with; run on another host");
  return found;
}

std::atomic<InstructionSet>& chosen() {
  static std::atomic<InstructionSet> set = instruction_sets().back();
  return set;
}

}  // namespace

std::string_view name_of(InstructionSet set) noexcept {
  return set == InstructionSet::kAvx2 ? "avx2" : set == InstructionSet::kAvx512 ? "avx512" : "avx512 vnni";
}

std::vector<InstructionSet> instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

InstructionSet instruction_set() { return chosen().load(std::memory_order_relaxed); }

void use_instruction_set(InstructionSet set) {
  const std::vector<InstructionSet> sets = instruction_sets();
  if (std::find(sets.begin(), sets.end(), set) == sets.end())
    throw Error(ExitCode::kUnavailable, "this processor does not have " + std::string(name_of(set)));
  hwy::SetSupportedTargetsForTest(targets_up_to(set));
  hwy::GetChosenTarget().DeInit();
  chosen() = set;
}

}  // namespace llm_tp

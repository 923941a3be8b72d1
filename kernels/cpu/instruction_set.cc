#include "kernels/cpu/instruction_set.h"

#include "base/error.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/instruction_set.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {
const char* target_name() {
#if HWY_TARGET == HWY_AVX2
  return "avx2";
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return "avx512";
#else
  return "neon";
#endif
}
}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(target_name);

std::string instruction_set() {
  if ((hwy::SupportedTargets() & HWY_TARGETS) == 0)
    throw Error(ExitCode::kUnavailable,
                "this processor has no AVX2 with FMA and F16C (x86-64, 2013 and later) and no NEON "
                "(aarch64), which the "
                "CPU backend computes with; run on another host");
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

}  // namespace llm_tp
#endif

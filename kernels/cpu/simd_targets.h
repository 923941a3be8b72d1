#pragma once
// Include before any header of Highway. It restricts the ops to instruction sets with a fused multiply-add:
// without one, Highway rounds twice, which is another arithmetic (docs/numerics.md), so such code must not
// exist in the binary. The baseline is only the target that Highway compiles last; CpuBackend refuses
// processors that lack it.
#if defined(__x86_64__)
#define HWY_BASELINE_TARGETS HWY_AVX2
#define HWY_WANT_AVX3_DL 1
#endif
// Under a sanitizer a file of SIMD code takes minutes a target to compile; it is one source, so one target
// finds its errors.
#if defined(LLM_TP_ONE_SIMD_TARGET)
#define LLM_TP_LEFT_OUT_TARGETS (HWY_AVX3 | HWY_AVX3_DL)
#else
#define LLM_TP_LEFT_OUT_TARGETS 0
#endif
#define HWY_DISABLED_TARGETS                                                                       \
  (LLM_TP_LEFT_OUT_TARGETS | HWY_SSSE3 | HWY_SSE4 | HWY_SCALAR | HWY_EMU128 | HWY_SVE | HWY_SVE2 | \
   HWY_SVE_256 | HWY_SVE2_128)

#include <immintrin.h>

#include <cstddef>

#include "kernels/cpu/group_layout.h"
#include "kernels/cpu/linear_kernels.h"

// Compiled with AVX2, FMA and F16C. Every function here has internal linkage: see vector_avx2-inl.h.

namespace llm_tp::cpu {
namespace {

#include "kernels/cpu/vector_avx2-inl.h"

#include "kernels/cpu/tile-inl.h"

#include "kernels/cpu/group_exact-inl.h"

#include "kernels/cpu/exact_tile-inl.h"

#include "kernels/cpu/group_int8-inl.h"

#include "kernels/cpu/int8_tile_avx2-inl.h"

#include "kernels/cpu/int8_panels-inl.h"
#include "kernels/cpu/round-inl.h"

}  // namespace

const LinearKernels kLinearAvx2{kWeightKernels, kWeightKernelCount, kInt8Rows, round_rows};

}  // namespace llm_tp::cpu

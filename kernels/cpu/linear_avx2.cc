#include <immintrin.h>

#include "kernels/cpu/linear_kernels.h"

// Compiled with AVX2, FMA and F16C. Every function here has internal linkage.

namespace llm_tp::cpu {
namespace {

using F = __m256;
using V = __m256i;
constexpr int kVectors = 2;  // of 8 rows: a panel

/// Sums leaves along the tree. leaf(k0, k1, sum) overwrites sum[M]; store(root, sum) gets the sum of each
/// root.
template <int M, class Leaf, class Store>
inline void along_tree(const LinearJob& job, const Leaf& leaf, const Store& store) {
  F pending[8][M] = {};
  F sum[M] = {};
  for (int r = 0; r < job.root_count; ++r) {
    const RootPlan& root = job.roots[r];
    for (int i = 0; i < root.leaves; ++i) {
      leaf(root.begins[i], root.begins[i + 1], sum);
      int level = 0;
      for (; i >> level & 1; ++level)
        for (int m = 0; m < M; ++m) sum[m] = _mm256_add_ps(pending[level][m], sum[m]);
      if (i + 1 < root.leaves)
        for (int m = 0; m < M; ++m) pending[level][m] = sum[m];
    }
    store(r, sum);
  }
}

/// Far ahead into level 2, then near into level 1, which has too few line fill buffers for the memory's
/// latency.
inline void ahead(const std::byte* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + 4096), _MM_HINT_T1);
  _mm_prefetch(reinterpret_cast<const char*>(p + 1024), _MM_HINT_T0);
}

template <int NT>
inline void store_tile(const LinearJob& job, std::int64_t panel, std::int64_t t, int root, const F* sum) {
  const std::int64_t first = panel * 16;
  float* out = job.out + root * job.root_stride + t * job.out_stride + first;
  const auto left = static_cast<int>(job.rows - first < 16 ? job.rows - first : 16);
  for (int i = 0; i < NT; ++i, out += job.out_stride) {
    F low = sum[2 * i], high = sum[2 * i + 1];
    if (left == 16) {
      if (job.bias != nullptr) {
        low = _mm256_add_ps(low, _mm256_loadu_ps(job.bias + first));
        high = _mm256_add_ps(high, _mm256_loadu_ps(job.bias + first + 8));
      }
      _mm256_storeu_ps(out, low);
      _mm256_storeu_ps(out + 8, high);
    } else {
      alignas(32) float lanes[16];
      _mm256_store_ps(lanes, low);
      _mm256_store_ps(lanes + 8, high);
      for (int lane = 0; lane < left; ++lane)
        out[lane] = job.bias != nullptr ? lanes[lane] + job.bias[first + lane] : lanes[lane];
    }
  }
}

template <DType D>
inline F load_plain(const std::byte* p) {
  if constexpr (D == DType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  if constexpr (D == DType::kF16) return _mm256_cvtph_ps(half);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/// Widens 32 k of a panel of blocks to f32: scratch[32][16].
template <DType D>
inline void widen_block(const std::byte* block, float* scratch) {
  const V nibble = _mm256_set1_epi32(15);
  for (int v = 0; v < kVectors; ++v) {
    const F d = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 16 * v)));
    const F m = D == DType::kQ4_1
                    ? _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 32 + 16 * v)))
                    : _mm256_setzero_ps();
    const std::byte* quants = block + (D == DType::kQ4_1 ? 64 : 32) + 32 * v;
    for (int k = 0; k < 32; ++k) {
      V q;
      if constexpr (D == DType::kQ8_0) {
        const V four = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * (k / 4)));
        q = _mm256_srai_epi32(_mm256_sllv_epi32(four, _mm256_set1_epi32(24 - 8 * (k % 4))), 24);
      } else {
        const V four = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * (k % 16 / 4)));
        q = _mm256_and_si256(_mm256_srlv_epi32(four, _mm256_set1_epi32(8 * (k % 4) + (k < 16 ? 0 : 4))),
                             nibble);
        if constexpr (D == DType::kQ4_0) q = _mm256_sub_epi32(q, _mm256_set1_epi32(8));
      }
      F w = _mm256_mul_ps(d, _mm256_cvtepi32_ps(q));
      if constexpr (D == DType::kQ4_1) w = _mm256_add_ps(w, m);
      _mm256_storeu_ps(scratch + 16 * k + 8 * v, w);
    }
  }
}

/// Plain weights, and quantised ones with f32 activations: NT rows x 16 outputs; the sums of a leaf stay in
/// registers.
template <DType D, int NT>
void plain_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  constexpr bool kBlocks = D == DType::kQ8_0 || D == DType::kQ4_0 || D == DType::kQ4_1;
  constexpr int kStep = D == DType::kF32 ? 64 : 32;  // bytes per k
  const std::byte* w = job.panels + panel * job.panel_bytes;
  const float* x[NT];
  for (int i = 0; i < NT; ++i) x[i] = job.x + (t + i) * job.x_stride;
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* out) {
    F sum[NT * kVectors];
#pragma GCC unroll 16
    for (F& s : sum) s = _mm256_setzero_ps();
    const auto step = [&](F low, F high, std::int64_t k) {
#pragma GCC unroll 8
      for (int i = 0; i < NT; ++i) {
        const F xv = _mm256_broadcast_ss(x[i] + k);
        sum[2 * i] = _mm256_fmadd_ps(low, xv, sum[2 * i]);
        sum[2 * i + 1] = _mm256_fmadd_ps(high, xv, sum[2 * i + 1]);
      }
    };
    if constexpr (kBlocks) {
      constexpr std::int64_t kStride = D == DType::kQ8_0 ? 544 : D == DType::kQ4_0 ? 288 : 320;
      alignas(32) float scratch[32 * 16];
      for (std::int64_t b = k0 / 32; b < k1 / 32; ++b) {
        widen_block<D>(w + b * kStride, scratch);
        for (int k = 0; k < 32; ++k)
          step(_mm256_load_ps(scratch + 16 * k), _mm256_load_ps(scratch + 16 * k + 8), 32 * b + k);
      }
    } else {
      const std::byte* p = w + kStep * k0;
      for (std::int64_t k = k0; k < k1; ++k, p += kStep) {
        if (NT <= 2) ahead(p);
        step(load_plain<D>(p), load_plain<D>(p + kStep / 2), k);
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < NT * kVectors; ++m) out[m] = sum[m];
  };
  along_tree<NT * kVectors>(job, leaf,
                            [&](int root, const F* sum) { store_tile<NT>(job, panel, t, root, sum); });
}

/// Quantised weights with int8 activations: NT rows x 16 outputs.
template <DType D, int NT>
void block_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  constexpr std::int64_t kStride = D == DType::kQ8_0 ? 544 : D == DType::kQ4_0 ? 288 : 320;
  constexpr int kHeader = D == DType::kQ4_1 ? 64 : 32;
  const std::int64_t blocks = job.columns / 32;
  const std::byte* w = job.panels + panel * job.panel_bytes;
  const V nibbles = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* sum) {
#pragma GCC unroll 16
    for (int m = 0; m < NT * kVectors; ++m) sum[m] = _mm256_setzero_ps();
    for (std::int64_t b = k0 / 32; b < k1 / 32; ++b) {
      const std::byte* block = w + b * kStride;
      const std::byte* quants = block + kHeader;
      if (NT <= 4)
        for (int line = 0; line < (D == DType::kQ8_0 ? 9 : 5); ++line) ahead(block + 64 * line);
      const std::int8_t* xq = job.xq + t * job.columns + 32 * b;
      V total[NT][kVectors];
#pragma GCC unroll 4
      for (int i = 0; i < NT; ++i)
        for (int v = 0; v < kVectors; ++v) total[i][v] = _mm256_setzero_si256();
      const auto activation = [&](int i, int j) {  // 4 k of row i in every lane
        std::int32_t four;
        __builtin_memcpy(&four, xq + i * job.columns + 4 * j, 4);
        return _mm256_set1_epi32(four);
      };
      if constexpr (D == DType::kQ8_0) {
        // |q| <= 128 and |xq| <= 127: two products fit 16 bits, four do not.
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
          const V q0 = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * j));
          const V q1 = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * j + 32));
          const V a0 = _mm256_abs_epi8(q0), a1 = _mm256_abs_epi8(q1);
#pragma GCC unroll 4
          for (int i = 0; i < NT; ++i) {
            const V xv = activation(i, j);
            total[i][0] = _mm256_add_epi32(
                total[i][0], _mm256_madd_epi16(_mm256_maddubs_epi16(a0, _mm256_sign_epi8(xv, q0)), ones));
            total[i][1] = _mm256_add_epi32(
                total[i][1], _mm256_madd_epi16(_mm256_maddubs_epi16(a1, _mm256_sign_epi8(xv, q1)), ones));
          }
        }
      } else {
        // Eight sums of two products of at most 15 * 127 fit 16 bits.
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const V q0 = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * j));
          const V q1 = _mm256_loadu_si256(reinterpret_cast<const V*>(quants + 64 * j + 32));
          const V low0 = _mm256_and_si256(q0, nibbles), low1 = _mm256_and_si256(q1, nibbles);
#pragma GCC unroll 4
          for (int i = 0; i < NT; ++i) {
            const V xv = activation(i, j);
            total[i][0] = _mm256_add_epi16(total[i][0], _mm256_maddubs_epi16(low0, xv));
            total[i][1] = _mm256_add_epi16(total[i][1], _mm256_maddubs_epi16(low1, xv));
          }
          const V high0 = _mm256_and_si256(_mm256_srli_epi16(q0, 4), nibbles),
                  high1 = _mm256_and_si256(_mm256_srli_epi16(q1, 4), nibbles);
#pragma GCC unroll 4
          for (int i = 0; i < NT; ++i) {
            const V xv = activation(i, j + 4);
            total[i][0] = _mm256_add_epi16(total[i][0], _mm256_maddubs_epi16(high0, xv));
            total[i][1] = _mm256_add_epi16(total[i][1], _mm256_maddubs_epi16(high1, xv));
          }
        }
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const F d = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 16 * v)));
        [[maybe_unused]] F m;
        if constexpr (D == DType::kQ4_1)
          m = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 32 + 16 * v)));
#pragma GCC unroll 4
        for (int i = 0; i < NT; ++i) {
          const std::int64_t at = (t + i) * blocks + b;
          V whole = total[i][v];
          if constexpr (D != DType::kQ8_0) whole = _mm256_madd_epi16(whole, ones);
          if constexpr (D == DType::kQ4_0) whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(8 * job.xi[at]));
          F& s = sum[2 * i + v];
          s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(d, _mm256_broadcast_ss(job.xd + at)),
                              s);
          if constexpr (D == DType::kQ4_1) s = _mm256_fmadd_ps(m, _mm256_broadcast_ss(job.xsum + at), s);
        }
      }
    }
  };
  along_tree<NT * kVectors>(job, leaf,
                            [&](int root, const F* sum) { store_tile<NT>(job, panel, t, root, sum); });
}

template <DType D>
void plain_rows(const LinearJob& job, std::int64_t panel, std::int64_t t0, std::int64_t t1) {
  std::int64_t t = t0;
  for (; t + 6 <= t1; t += 6) plain_tile<D, 6>(job, panel, t);
  for (; t + 3 <= t1; t += 3) plain_tile<D, 3>(job, panel, t);
  for (; t < t1; ++t) plain_tile<D, 1>(job, panel, t);
}

template <DType D>
void block_rows(const LinearJob& job, std::int64_t panel, std::int64_t t0, std::int64_t t1) {
  std::int64_t t = t0;
  for (; t + 4 <= t1; t += 4) block_tile<D, 4>(job, panel, t);
  for (; t + 2 <= t1; t += 2) block_tile<D, 2>(job, panel, t);
  for (; t < t1; ++t) block_tile<D, 1>(job, panel, t);
}

void panels(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0, std::int64_t t1) {
  for (std::int64_t panel = begin; panel < end; ++panel) switch (job.dtype) {
      case DType::kF32:
        plain_rows<DType::kF32>(job, panel, t0, t1);
        break;
      case DType::kF16:
        plain_rows<DType::kF16>(job, panel, t0, t1);
        break;
      case DType::kBF16:
        plain_rows<DType::kBF16>(job, panel, t0, t1);
        break;
      case DType::kQ8_0:
        job.int8_activations ? block_rows<DType::kQ8_0>(job, panel, t0, t1)
                             : plain_rows<DType::kQ8_0>(job, panel, t0, t1);
        break;
      case DType::kQ4_0:
        job.int8_activations ? block_rows<DType::kQ4_0>(job, panel, t0, t1)
                             : plain_rows<DType::kQ4_0>(job, panel, t0, t1);
        break;
      case DType::kQ4_1:
        job.int8_activations ? block_rows<DType::kQ4_1>(job, panel, t0, t1)
                             : plain_rows<DType::kQ4_1>(job, panel, t0, t1);
        break;
      case DType::kI32:
        break;
    }
}

void quantise(const float* x, std::int64_t k, std::int8_t* xq, float* xd, float* xsum, std::int32_t* xi) {
  const F magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  for (std::int64_t b = 0; b < k / 32; ++b, x += 32, xq += 32) {
    F most = _mm256_setzero_ps();
    for (int i = 0; i < 32; i += 8)
      most = _mm256_max_ps(most, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i)));
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, most);
    float amax = lanes[0];
    for (int i = 1; i < 8; ++i) amax = lanes[i] > amax ? lanes[i] : amax;
    const float inverse = amax > 1e-30f ? 127.0f / amax : 0.0f;
    std::int32_t sum = 0;
    for (int i = 0; i < 32; i += 8) {
      alignas(32) std::int32_t q[8];
      _mm256_store_si256(reinterpret_cast<V*>(q),
                         _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inverse))));
      for (int j = 0; j < 8; ++j) xq[i + j] = static_cast<std::int8_t>(q[j]), sum += q[j];
    }
    xd[b] = amax / 127.0f;
    xi[b] = sum;
    xsum[b] = xd[b] * static_cast<float>(sum);
  }
}

}  // namespace

const LinearKernels kLinearAvx2{panels, quantise};

}  // namespace llm_tp::cpu

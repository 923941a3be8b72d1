// Quantised weights with int8 activations on AVX2; the arithmetic of int8_tile_avx512-inl.h.
// Needs tile-inl.h; included as it is.

constexpr int kInt8Rows = 4;

/// The exact sums of q * xq of Rows rows over one block, offsets taken out.
template <DType D, int Rows>
inline void sum_block(const std::byte* quants, const RoundedRows& rounded, std::int64_t x,
                      V (&total)[Rows][kParts]) {
  using Layout = PackedLayout<D>;
  const V ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i)
    for (int v = 0; v < kParts; ++v) total[i][v] = _mm256_setzero_si256();
  const auto activation = [&](int i, int j) {  // k = 4j .. 4j + 3 of row i in every lane
    std::int32_t four;
    __builtin_memcpy(&four, rounded.q + 32 * (x + i) + 4 * j, 4);
    return Vec::ints(four);
  };
  if constexpr (!Layout::kNibbles) {
    // |q| <= 128 and |xq| <= 127: two products fit 16 bits, four do not.
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const V q0 = Vec::load_bytes(quants + 64 * j), q1 = Vec::load_bytes(quants + 64 * j + 32);
      const V a0 = _mm256_abs_epi8(q0), a1 = _mm256_abs_epi8(q1);
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) {
        const V xv = activation(i, j);
        total[i][0] = Vec::add_ints(
            total[i][0], _mm256_madd_epi16(_mm256_maddubs_epi16(a0, _mm256_sign_epi8(xv, q0)), ones));
        total[i][1] = Vec::add_ints(
            total[i][1], _mm256_madd_epi16(_mm256_maddubs_epi16(a1, _mm256_sign_epi8(xv, q1)), ones));
      }
    }
  } else {
    // Eight sums of two products of at most 15 * 127 fit 16 bits.
    const V nibble = _mm256_set1_epi8(15);
    const auto add = [&](int j, V q0, V q1) {
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) {
        const V xv = activation(i, j);
        total[i][0] = _mm256_add_epi16(total[i][0], _mm256_maddubs_epi16(q0, xv));
        total[i][1] = _mm256_add_epi16(total[i][1], _mm256_maddubs_epi16(q1, xv));
      }
    };
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const V q0 = Vec::load_bytes(quants + 64 * j), q1 = Vec::load_bytes(quants + 64 * j + 32);
      add(j, Vec::bits_and(q0, nibble), Vec::bits_and(q1, nibble));
      add(j + 4, Vec::bits_and(_mm256_srli_epi16(q0, 4), nibble),
          Vec::bits_and(_mm256_srli_epi16(q1, 4), nibble));
    }
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      for (int v = 0; v < kParts; ++v) {
        total[i][v] = _mm256_madd_epi16(total[i][v], ones);
        if constexpr (!Layout::kHasMinimum)
          total[i][v] = Vec::add_ints(total[i][v], Vec::ints(rounded.minus8q[x + i]));
      }
    }
  }
}

template <DType D, int Rows>
void int8_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  using Layout = PackedLayout<D>;
  const std::int64_t first = t * (job.columns / 32);
  const std::byte* const w = job.panels + panel * job.panel_bytes;
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* sum) {
#pragma GCC unroll 8
    for (int m = 0; m < Rows * kParts; ++m) sum[m] = Vec::zero();
    for (std::int64_t b = k0 / 32; b < k1 / 32; ++b) {
      const std::byte* block = w + b * Layout::kBytes;
      const std::int64_t x = first + b * Rows;
      ahead_of_block<Layout::kBytes>(block);
      V total[Rows][kParts];
      sum_block<D, Rows>(block + Layout::kQuants, job.rounded, x, total);
#pragma GCC unroll 2
      for (int v = 0; v < kParts; ++v) {
        const F d = Vec::from_f16(block + Layout::kScales + 16 * v);
        [[maybe_unused]] F m;
        if constexpr (Layout::kHasMinimum) m = Vec::from_f16(block + Layout::kMinima + 16 * v);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) {
          F& s = sum[kParts * i + v];
          s = Vec::fma(Vec::from_int(total[i][v]), Vec::mul(d, Vec::broadcast(job.rounded.d[x + i])), s);
          if constexpr (Layout::kHasMinimum) s = Vec::fma(m, Vec::broadcast(job.rounded.dsum[x + i]), s);
        }
      }
    }
  };
  along_tree<Rows * kParts>(job, leaf, [&](int root, const F* sum) {
    for (int i = 0; i < Rows; ++i) store_outputs(job, panel, t + i, root, sum + kParts * i);
  });
}

// Quantised weights with int8 activations on AVX-512 VNNI. Per output and block of 32 k: i, the exact sum of
// q * xq; then sum = fma(f32(i), dw * dx, sum), and with a minimum sum = fma(m, dx * f32(sum of xq), sum).
// Needs tile-inl.h; included as it is.

constexpr int kInt8Rows = 16;  // their sums and the block's quants fill the registers

/// A block of a panel in registers: the quants as unsigned bytes, vector j holding k = 4j .. 4j + 3.
template <DType D>
struct Int8Block {
  using Layout = PackedLayout<D>;
  V q[8];
  F d, m;

  explicit Int8Block(const std::byte* block) {
    d = Vec::from_f16(block + Layout::kScales);
    if constexpr (Layout::kHasMinimum) m = Vec::from_f16(block + Layout::kMinima);
    const std::byte* quants = block + Layout::kQuants;
    if constexpr (Layout::kNibbles) {
      const V nibble = Vec::ints(0x0f0f0f0f);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const V pair = Vec::load_bytes(quants + 64 * j);
        q[j] = Vec::bits_and(pair, nibble);
        q[j + 4] = Vec::bits_and(_mm512_srli_epi16(pair, 4), nibble);
      }
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)  // q + 128
        q[j] = _mm512_xor_si512(Vec::load_bytes(quants + 64 * j), Vec::ints(static_cast<int>(0x80808080u)));
    }
  }
  /// What the sum of a row starts with, to take the offset of the quants out.
  static V start(std::int32_t minus8q) {
    if constexpr (Layout::kHasMinimum) return Vec::ints(0);
    if constexpr (Layout::kNibbles) return Vec::ints(minus8q);
    return _mm512_slli_epi32(Vec::ints(minus8q), 4);
  }
};

template <DType D, int Rows>
void int8_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  using Layout = PackedLayout<D>;
  const std::int64_t first = t * (job.columns / 32);
  const std::byte* const w = job.panels + panel * job.panel_bytes;
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* out) {
    F sum[Rows];
#pragma GCC unroll 16
    for (F& s : sum) s = Vec::zero();
    const std::byte* at = w + k0 / 32 * Layout::kBytes;
    std::int64_t x = first + k0 / 32 * Rows;
    for (std::int64_t b = k0 / 32; b < k1 / 32; ++b, at += Layout::kBytes, x += Rows) {
      if constexpr (Rows <= 4) ahead_of_block<Layout::kBytes>(at);
      const Int8Block<D> block(at);
      const std::int8_t* xq = job.rounded.q + 32 * x;
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        V total = Int8Block<D>::start(job.rounded.minus8q[x + i]);
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
          std::int32_t four;
          __builtin_memcpy(&four, xq + 32 * i + 4 * j, 4);
          total = _mm512_dpbusd_epi32(total, block.q[j], Vec::ints(four));
        }
        sum[i] =
            Vec::fma(Vec::from_int(total), Vec::mul(block.d, Vec::broadcast(job.rounded.d[x + i])), sum[i]);
        if constexpr (Layout::kHasMinimum)
          sum[i] = Vec::fma(block.m, Vec::broadcast(job.rounded.dsum[x + i]), sum[i]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) out[i] = sum[i];
  };
  along_tree<Rows>(job, leaf, [&](int root, const F* sum) {
    for (int i = 0; i < Rows; ++i) store_outputs(job, panel, t + i, root, sum + i);
  });
}

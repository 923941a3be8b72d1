// Blocks of group_layout.h with int8 activations, in the words of both instruction sets. Per output and 32
// columns: i, the exact sum over the runs of scale * (sum of q * xq); then sum = fma(f32(i), d * dx, sum),
// and with minima, j being the exact sum over the runs of minimum * (sum of xq), sum = fma(f32(j), -dmin *
// dx, sum). |i| < 2^24 in every format, so f32(i) is exact. Needs tile-inl.h; included as it is.

/// One vector of rows of 32 columns, its codes ready for Vec::dot.
template <class Layout>
struct Int8Group {
  static constexpr int kRuns = Layout::kRuns == 2 ? 2 : 1;
  static constexpr bool kSigned = Layout::kCodes != Codes::kNibbles;
  V q[8];  // vector j: k = 4j .. 4j + 3
  V scale[kRuns], minimum[kRuns], offset;
  F d, minus;

  Int8Group(const std::byte* block, const std::byte* chunk, int part) {
    const int lanes = part * Vec::kLanes;
    const std::byte* codes = chunk + Layout::kCodesAt + 4 * lanes;
    if constexpr (Layout::kNibbles) {
      const V nibble = Vec::ints(0x0f0f0f0f);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const V pair = Vec::load_bytes(codes + 64 * j);
        q[j] = Vec::bits_and(pair, nibble);
        q[j + 4] = Vec::bits_and(Vec::shift_right(pair, 4), nibble);
        if constexpr (kSigned) {
          q[j] = Vec::look_up(Layout::kValues, q[j]);
          q[j + 4] = Vec::look_up(Layout::kValues, q[j + 4]);
        }
      }
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) q[j] = Vec::load_bytes(codes + 64 * j);
    }
    d = load_factors<Layout>(block, part);
    offset = Vec::ints(Layout::kOffset);
    if constexpr (Layout::kZeroPoints) offset = Vec::from_i16(block + Layout::kZeroPointsAt + 2 * lanes);
    if constexpr (Layout::kMinima != Minima::kNone)
      minus = Vec::from_f16(block + Layout::kMinimaAt + 2 * lanes);
    for (int run = 0; run < kRuns; ++run) {
      if constexpr (Layout::kRuns > 0) scale[run] = Vec::from_i8(chunk + run * kPanelRows + lanes);
      if constexpr (Layout::kMinima == Minima::kOfRuns)
        minimum[run] = Vec::from_u8(chunk + Layout::kRunMinimaAt + run * kPanelRows + lanes);
    }
  }

  /// i of one row of x: its 32 quants and their sums, first half and second.
  V dot(const std::int8_t* xq, std::int32_t first, std::int32_t second) const {
    V total = Vec::ints(0);
#pragma GCC unroll 2
    for (int run = 0; run < kRuns; ++run) {
      V products = Vec::ints(0);
#pragma GCC unroll 8
      for (int j = run * 4; j < (kRuns == 2 ? run * 4 + 4 : 8); ++j) {
        std::int32_t four;
        __builtin_memcpy(&four, xq + 4 * j, 4);
        products = Vec::template dot<kSigned>(products, q[j], Vec::ints(four));
      }
      if constexpr (Layout::kOffset != 0 || Layout::kZeroPoints) {
        const std::int32_t sum = kRuns == 1 ? first + second : run == 0 ? first : second;
        products = Vec::add_ints(products, Vec::mul_ints(offset, Vec::ints(sum)));
      }
      if constexpr (Layout::kRuns > 0) products = Vec::mul_ints(products, scale[run]);
      total = Vec::add_ints(total, products);
    }
    return total;
  }
  /// j of one row of x.
  V minima(std::int32_t first, std::int32_t second) const {
    if constexpr (Layout::kMinima == Minima::kOfBlock) return Vec::ints(first + second);
    if constexpr (kRuns == 1) return Vec::mul_ints(minimum[0], Vec::ints(first + second));
    return Vec::add_ints(Vec::mul_ints(minimum[0], Vec::ints(first)),
                         Vec::mul_ints(minimum[kRuns - 1], Vec::ints(second)));
  }
};

template <class Layout, int Rows>
void int8_group_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  const std::int64_t first = t * (job.columns / 32);
  const std::byte* const w = job.panels + panel * job.panel_bytes;
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* out) {
    F sum[Rows * kParts];
#pragma GCC unroll 16
    for (F& s : sum) s = Vec::zero();
    for (std::int64_t k = k0; k < k1; k += 32) {
      const std::byte* block = w + (k >> job.block_shift) * job.block_bytes;
      const std::byte* chunk = block + Layout::kHeader + (k & job.block_mask) / 32 * Layout::kChunk;
      const std::int64_t x = first + k / 32 * Rows;
      if constexpr (Rows <= 4) ahead_of_block<Layout::kChunk>(chunk);
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        const Int8Group<Layout> group(block, chunk, part);
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
          const std::int32_t half = job.rounded.half[x + i], other = job.rounded.minus8q[x + i] / -8 - half;
          const F dx = Vec::broadcast(job.rounded.d[x + i]);
          F& s = sum[kParts * i + part];
          s = Vec::fma(Vec::from_int(group.dot(job.rounded.q + 32 * (x + i), half, other)),
                       Vec::mul(group.d, dx), s);
          if constexpr (Layout::kMinima != Minima::kNone)
            s = Vec::fma(Vec::from_int(group.minima(half, other)), Vec::mul(group.minus, dx), s);
        }
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < Rows * kParts; ++m) out[m] = sum[m];
  };
  along_tree<Rows * kParts>(job, leaf, [&](int root, const F* sum) {
    for (int i = 0; i < Rows; ++i) store_outputs(job, panel, t + i, root, sum + kParts * i);
  });
}

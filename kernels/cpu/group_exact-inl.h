// Blocks of group_layout.h widened to f32, for f32 activations. Needs tile-inl.h; included as it is.

/// A lane of bytes as they lie in a vector of codes: number `byte` of the four of each row.
inline V signed_byte(V four, int byte) {
  return Vec::shift_right_signed(Vec::shift_left(four, 24 - 8 * byte), 24);
}

template <class Layout>
inline F load_factors(const std::byte* block, int part) {
  if constexpr (Layout::kFactors == Factors::kF32)
    return Vec::load(reinterpret_cast<const float*>(block) + part * Vec::kLanes);
  if constexpr (Layout::kFactors == Factors::kBF16) return Vec::from_bf16(block + 2 * part * Vec::kLanes);
  return Vec::from_f16(block + 2 * part * Vec::kLanes);
}

/// One vector of rows of 32 columns of a block.
template <class Layout>
class WidenedGroup {
 public:
  WidenedGroup() = default;
  WidenedGroup(const std::byte* block, const std::byte* chunk, int part)
      : codes_(chunk + Layout::kCodesAt + 4 * part * Vec::kLanes) {
    const int lanes = part * Vec::kLanes;
    const F d = load_factors<Layout>(block, part);
    for (int run = 0; run < kRuns; ++run) {
      scale_[run] = d;
      if constexpr (Layout::kRuns > 0)
        scale_[run] = Vec::mul(d, Vec::from_int(Vec::from_i8(chunk + run * kPanelRows + lanes)));
      if constexpr (Layout::kMinima != Minima::kNone) {
        minus_[run] = Vec::from_f16(block + Layout::kMinimaAt + 2 * lanes);
        if constexpr (Layout::kMinima == Minima::kOfRuns)
          minus_[run] =
              Vec::mul(minus_[run],
                       Vec::from_int(Vec::from_u8(chunk + Layout::kRunMinimaAt + run * kPanelRows + lanes)));
      }
    }
    offset_ = Vec::ints(Layout::kOffset);
    if constexpr (Layout::kZeroPoints) offset_ = Vec::from_i16(block + Layout::kZeroPointsAt + 2 * lanes);
  }
  /// The rows' weights of k = 4 * group + byte.
  F at(int group, int byte) const {
    const int run = kRuns == 2 ? group / 4 : 0;
    F w = Vec::mul(scale_[run], value(group, byte));
    if constexpr (Layout::kMinima != Minima::kNone) w = Vec::add(w, minus_[run]);
    return w;
  }

 private:
  static constexpr int kRuns = Layout::kRuns == 2 ? 2 : 1;

  F value(int group, int byte) const {
    if constexpr (Layout::kCodes == Codes::kFp8) {
      return Vec::from_e4m3(Vec::shift_right(Vec::load_bytes(codes_ + 64 * group), 8 * byte));
    } else if constexpr (Layout::kNibbles) {
      const V four = Vec::load_bytes(codes_ + 64 * (group % 4));
      V q = Vec::bits_and(Vec::shift_right(four, 8 * byte + (group < 4 ? 0 : 4)), Vec::ints(15));
      if constexpr (Layout::kCodes != Codes::kNibbles) q = signed_byte(Vec::look_up(Layout::kValues, q), 0);
      if constexpr (Layout::kOffset != 0 || Layout::kZeroPoints) q = Vec::add_ints(q, offset_);
      return Vec::from_int(q);
    } else {
      V q = signed_byte(Vec::load_bytes(codes_ + 64 * group), byte);
      if constexpr (Layout::kZeroPoints) q = Vec::add_ints(q, offset_);
      return Vec::from_int(q);
    }
  }

  const std::byte* codes_ = nullptr;
  F scale_[kRuns], minus_[kRuns];
  V offset_;
};

/// Calls step(w, k) for k of [k0, k1) as each_k does, for layouts of blocks.
template <class Layout, int Panels, class Step>
inline void each_grouped_k(const LinearJob& job, const std::byte* panels, std::int64_t k0, std::int64_t k1,
                           const Step& step) {
  F w[Panels * kParts];
  for (std::int64_t k = k0; k < k1; k += 32) {
    WidenedGroup<Layout> group[Panels * kParts];
    const std::int64_t block = (k >> job.block_shift) * job.block_bytes;
    const std::int64_t chunk = block + Layout::kHeader + (k & job.block_mask) / 32 * Layout::kChunk;
#pragma GCC unroll 8
    for (int m = 0; m < Panels * kParts; ++m) {
      const std::byte* panel = panels + m / kParts * job.panel_bytes;
      group[m] = WidenedGroup<Layout>(panel + block, panel + chunk, m % kParts);
      if (m % kParts == 0) ahead_of_block<Layout::kChunk>(panel + chunk);
    }
    for (int four = 0; four < 8; ++four) {
#pragma GCC unroll 4
      for (int byte = 0; byte < 4; ++byte) {
#pragma GCC unroll 8
        for (int m = 0; m < Panels * kParts; ++m) w[m] = group[m].at(four, byte);
        step(w, k + 4 * four + byte);
      }
    }
  }
}

/// The same for layouts with a factor a column.
template <class Layout, int Panels, class Step>
inline void each_column_k(const LinearJob& job, const std::byte* panels, std::int64_t k0, std::int64_t k1,
                          const Step& step) {
  const std::int64_t codes = job.column_group_count * Layout::kGroup;
  F w[Panels * kParts];
  for (std::int64_t k = k0; k < k1; ++k) {
    const std::int64_t group = job.column_groups[k] * std::int64_t{Layout::kGroup};
#pragma GCC unroll 8
    for (int m = 0; m < Panels * kParts; ++m) {
      const std::byte* panel = panels + m / kParts * job.panel_bytes;
      const int lanes = m % kParts * Vec::kLanes;
      const std::byte* code = panel + codes + (Layout::kNibbles ? k / 2 : k) * kPanelRows + lanes;
      V q = Layout::kNibbles ? Vec::from_u8(code) : Vec::from_i8(code);
      if constexpr (Layout::kNibbles)
        q = Vec::bits_and(Vec::shift_right(q, static_cast<int>(k % 2 * 4)), Vec::ints(15));
      q = Vec::add_ints(q, Vec::from_i16(panel + group + Layout::kZeroPointsAt + 2 * lanes));
      w[m] = Vec::mul(Vec::load(reinterpret_cast<const float*>(panel + group) + lanes), Vec::from_int(q));
    }
    step(w, k);
  }
}

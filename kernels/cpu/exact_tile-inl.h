// Linear layers with f32 activations, for plain weights and for quantised ones that are widened on the way.
// Per output and leaf: sum = fma(w[k], x[k], sum), k ascending. Needs tile-inl.h; included as it is.

template <DType D>
inline F widen_plain(const std::byte* p) {
  if constexpr (D == DType::kF32) return Vec::load(reinterpret_cast<const float*>(p));
  if constexpr (D == DType::kF16) return Vec::from_f16(p);
  return Vec::from_bf16(p);
}

/// One vector of rows of a block of 32 k.
template <DType D>
class WidenedBlock {
 public:
  WidenedBlock() = default;
  WidenedBlock(const std::byte* block, int part) : quants_(block + Layout::kQuants + 4 * part * Vec::kLanes) {
    d_ = Vec::from_f16(block + Layout::kScales + 2 * part * Vec::kLanes);
    if constexpr (Layout::kHasMinimum) m_ = Vec::from_f16(block + Layout::kMinima + 2 * part * Vec::kLanes);
  }
  /// The rows' weights of k = 4 * group + byte.
  F at(int group, int byte) const {
    if constexpr (Layout::kNibbles) {
      const V four = Vec::load_bytes(quants_ + 64 * (group % 4));
      V q = Vec::bits_and(Vec::shift_right(four, 8 * byte + (group < 4 ? 0 : 4)), Vec::ints(15));
      if constexpr (!Layout::kHasMinimum) q = Vec::sub(q, Vec::ints(8));
      const F w = Vec::mul(d_, Vec::from_int(q));
      if constexpr (Layout::kHasMinimum) return Vec::add(w, m_);
      return w;
    } else {
      const V four = Vec::load_bytes(quants_ + 64 * group);
      return Vec::mul(d_, Vec::from_int(Vec::shift_right_signed(Vec::shift_left(four, 24 - 8 * byte), 24)));
    }
  }

 private:
  using Layout = PackedLayout<D>;
  const std::byte* quants_ = nullptr;
  F d_, m_;
};

/// Calls step(w, k) for k of [k0, k1): w[Panels * kParts], the weights of neighbouring panels at k.
template <DType D, int Panels, bool Prefetch, class Step>
inline void each_k(const LinearJob& job, const std::byte* panels, std::int64_t k0, std::int64_t k1,
                   const Step& step) {
  using Layout = PackedLayout<D>;
  const std::int64_t panel_bytes = job.panel_bytes;
  F w[Panels * kParts];
  if constexpr (Layout::kGrouped) {
    if constexpr (Layout::kByColumn)
      each_column_k<Layout, Panels>(job, panels, k0, k1, step);
    else
      each_grouped_k<Layout, Panels>(job, panels, k0, k1, step);
  } else if constexpr (!Layout::kQuantised) {
    const std::byte* p = panels + Layout::kBytes * k0;
    for (std::int64_t k = k0; k < k1; ++k, p += Layout::kBytes) {
#pragma GCC unroll 8
      for (int m = 0; m < Panels * kParts; ++m)
        w[m] = widen_plain<D>(p + m / kParts * panel_bytes + m % kParts * (Layout::kBytes / kParts));
      if constexpr (Prefetch)
        for (int panel = 0; panel < Panels; ++panel) ahead(p + panel * panel_bytes);
      step(w, k);
    }
  } else {
    for (std::int64_t b = k0 / 32; b < k1 / 32; ++b) {
      WidenedBlock<D> block[Panels * kParts];
#pragma GCC unroll 8
      for (int m = 0; m < Panels * kParts; ++m) {
        const std::byte* at = panels + m / kParts * panel_bytes + b * Layout::kBytes;
        block[m] = WidenedBlock<D>(at, m % kParts);
        if (Prefetch && m % kParts == 0) ahead_of_block<Layout::kBytes>(at);
      }
      for (int group = 0; group < 8; ++group) {
#pragma GCC unroll 4
        for (int byte = 0; byte < 4; ++byte) {
#pragma GCC unroll 8
          for (int m = 0; m < Panels * kParts; ++m) w[m] = block[m].at(group, byte);
          step(w, 32 * b + 4 * group + byte);
        }
      }
    }
  }
}

/// Rows rows of x times Panels panels; the sums of a leaf stay in registers.
template <DType D, int Rows, int Panels>
void exact_tile(const LinearJob& job, std::int64_t panel, std::int64_t t) {
  constexpr int kSums = Panels * kParts;  // of a row
  const std::byte* w = job.panels + panel * job.panel_bytes;
  const float* x[Rows];
  for (int i = 0; i < Rows; ++i) x[i] = job.x + (t + i) * job.x_stride;
  const auto leaf = [&](std::int64_t k0, std::int64_t k1, F* out) {
    F sum[Rows * kSums];
#pragma GCC unroll 16
    for (F& s : sum) s = Vec::zero();
    each_k<D, Panels, Rows <= 4>(job, w, k0, k1, [&](const F* weights, std::int64_t k) {
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const F xv = Vec::broadcast(x[i][k]);
#pragma GCC unroll 8
        for (int m = 0; m < kSums; ++m) sum[i * kSums + m] = Vec::fma(weights[m], xv, sum[i * kSums + m]);
      }
    });
#pragma GCC unroll 16
    for (int m = 0; m < Rows * kSums; ++m) out[m] = sum[m];
  };
  along_tree<Rows * kSums>(job, leaf, [&](int root, const F* sum) {
    for (int i = 0; i < Rows; ++i)
      for (int p = 0; p < Panels; ++p)
        store_outputs(job, panel + p, t + i, root, sum + i * kSums + p * kParts);
  });
}

/// With one row a panel is one chain of fma a vector, which does not hide their latency: several panels
/// together do.
constexpr int kChainPanels = kParts == 1 ? 4 : 2;
constexpr int kExactRows = kParts == 1 ? 8 : 6;

template <DType D>
void exact_panels(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0,
                  std::int64_t t1) {
  constexpr int kHalf = kExactRows / 2;
  std::int64_t t = t0;
  if (t + kHalf <= t1) {
    const std::int64_t whole = t0 + (t1 - t0) / kHalf * kHalf;
    for (std::int64_t panel = begin; panel < end; ++panel) {
      for (t = t0; t + kExactRows <= whole; t += kExactRows) exact_tile<D, kExactRows, 1>(job, panel, t);
      if (t < whole) exact_tile<D, kHalf, 1>(job, panel, t);
    }
    t = whole;
  }
  std::int64_t panel = begin;
  for (; t < t1 && panel + kChainPanels <= end; panel += kChainPanels)
    for (std::int64_t i = t; i < t1; ++i) exact_tile<D, 1, kChainPanels>(job, panel, i);
  for (; t < t1 && panel < end; ++panel)
    for (std::int64_t i = t; i < t1; ++i) exact_tile<D, 1, 1>(job, panel, i);
}

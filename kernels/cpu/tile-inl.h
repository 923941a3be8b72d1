// What the tiles of all kernels share: the tree, the stores, the prefetches. Needs Vec; included as it is.

using F = Vec::F;
using V = Vec::V;
constexpr int kParts = kPanelRows / Vec::kLanes;  // vectors a panel

/// Sums leaves along the tree. leaf(k0, k1, sum) overwrites sum[M]; store(root, sum) gets the sum of each
/// root.
template <int M, class Leaf, class Store>
inline void along_tree(const LinearJob& job, const Leaf& leaf, const Store& store) {
  F pending[8][M];
  F sum[M];
  for (int r = 0; r < job.root_count; ++r) {
    const RootPlan& root = job.roots[r];
    for (int i = 0; i < root.leaves; ++i) {
      leaf(root.begins[i], root.begins[i + 1], sum);
      int level = 0;
      for (; i >> level & 1; ++level)
        for (int m = 0; m < M; ++m) sum[m] = Vec::add(pending[level][m], sum[m]);
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
template <int Bytes>
inline void ahead_of_block(const std::byte* block) {
  for (int line = 0; line < (Bytes + 63) / 64; ++line) ahead(block + 64 * line);
}

/// Outputs of one panel and one row: sum[kParts], plus the bias where there is one.
inline void store_outputs(const LinearJob& job, std::int64_t panel, std::int64_t t, int root, const F* sum) {
  const std::int64_t first = panel * kPanelRows;
  float* out = job.out + root * job.root_stride + t * job.out_stride + first;
  if (first + kPanelRows <= job.rows) {
    for (int v = 0; v < kParts; ++v)
      Vec::store(
          out + v * Vec::kLanes,
          job.bias == nullptr ? sum[v] : Vec::add(sum[v], Vec::load(job.bias + first + v * Vec::kLanes)));
    return;
  }
  float lanes[kPanelRows];
  for (int v = 0; v < kParts; ++v) Vec::store(lanes + v * Vec::kLanes, sum[v]);
  for (std::int64_t lane = 0; lane < job.rows - first; ++lane)
    out[lane] = job.bias == nullptr ? lanes[lane] : lanes[lane] + job.bias[first + lane];
}

/// The largest power of two that neither `most` nor the rows left exceed.
inline int tile_rows(std::int64_t left, int most) {
  int width = most;
  while (width > left) width /= 2;
  return width;
}

#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels/device.h"
#include "tests/support/random_blocks.h"

namespace llm_tp::testing {

inline std::vector<float> random_floats(std::int64_t count, unsigned seed, float spread = 1.0f) {
  std::mt19937 bits(seed);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& value : out)
    value = (static_cast<float>(bits() >> 8) / static_cast<float>(1 << 24) * 2.0f - 1.0f) * spread;
  return out;
}

/// The bits of numbers, so that NaN and -0 compare as themselves.
inline std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> out(values.size());
  std::memcpy(out.data(), values.data(), values.size() * sizeof(float));
  return out;
}

/// A matrix of f32 in the memory of a backend, which may be far from the host.
class DeviceTensor {
 public:
  DeviceTensor(DeviceBackend& ops, const std::vector<float>& values, std::int64_t rows)
      : ops_(ops), memory_(ops.allocate(values.size() * sizeof(float))) {
    ops.upload(memory_.data(), std::as_bytes(std::span(values)));
    view = TensorView::matrix(memory_.floats(), rows,
                              rows > 0 ? static_cast<std::int64_t>(values.size()) / rows : 0);
  }
  TensorView vector() const { return TensorView::vector(memory_.floats(), view.rows() * view.columns()); }
  std::vector<float> take() const {
    const TensorView host = ops_.on_host(view);
    return std::vector<float>(host.row(0), host.row(0) + view.rows() * view.columns());
  }
  TensorView view;

 private:
  DeviceBackend& ops_;
  DeviceBuffer memory_;
};

/// A weight [rows, cut.columns] of random bits that are numbers, in the file layout of a dtype.
class RandomWeight {
 public:
  RandomWeight(DType dtype, std::int64_t rows, LeafCut cut, unsigned seed)
      : dtype_(dtype), rows_(rows), cut_(cut) {
    std::mt19937 bits(seed);
    if (is_quantised(dtype)) bytes_ = random_blocks(dtype, rows * cut.columns, bits);
    for (std::int64_t i = is_quantised(dtype) ? rows * cut.columns : 0; i < rows * cut.columns; ++i) {
      const float value = static_cast<float>(static_cast<int>(bits() % 2001) - 1000) / 1024.0f;
      if (dtype == DType::kF32) {
        append(value * 1.0001f);
      } else if (dtype == DType::kBF16) {
        append(f32_to_bf16(value));
      } else {
        append(f32_to_f16(value));
      }
    }
  }
  /// The same numbers, of which the first half of the rows are gates of the others.
  RandomWeight gated() const {
    RandomWeight copy = *this;
    copy.gated_ = true;
    return copy;
  }
  WeightSpec spec(Range leaves) const { return {dtype_, rows_, cut_, leaves, nullptr, gated_}; }
  WeightSpec spec() const { return spec({0, cut_.leaves}); }
  /// The columns of a run of leaves.
  std::unique_ptr<PackedWeight> pack(DeviceBackend& ops, Range leaves) const {
    const Range columns = cut_.columns_of(leaves);
    return ops.pack(spec(leaves), [&](Range rows, std::byte* out) {
      const std::int64_t part = row_bytes(dtype_, columns.size());
      for (std::int64_t r = rows.begin; r < rows.end; ++r, out += part)
        std::memcpy(out,
                    bytes_.data() + row_bytes(dtype_, r * cut_.columns) + row_bytes(dtype_, columns.begin),
                    static_cast<std::size_t>(part));
    });
  }
  std::unique_ptr<PackedWeight> pack(DeviceBackend& ops) const { return pack(ops, {0, cut_.leaves}); }

 private:
  template <class T>
  void append(T value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof value);
  }
  DType dtype_;
  std::int64_t rows_;
  LeafCut cut_;
  bool gated_ = false;
  std::vector<std::byte> bytes_;
};

/// Attention of one sequence whose q, k, v are random, in steps of `chunk` rows; [tokens, query heads *
/// head_dim].
struct AttentionCase {
  HeadMap heads{{0, 6}, {0, 2}, 3, 16};
  int tokens = 40;
  std::int64_t window = 0;
  DType dtype = DType::kF16;
  int page_tokens = 16;
  unsigned seed = 1;
  float soft_cap = 0.0f;

  std::vector<float> run(DeviceBackend& ops, int chunk = 1 << 20, bool pages_backwards = false) const {
    const std::int64_t query_width = heads.query_heads.size() * heads.head_dim,
                       kv_width = heads.kv_heads.size() * heads.head_dim;
    DeviceTensor q(ops, random_floats(tokens * query_width, seed, 3.0f), tokens),
        k(ops, random_floats(tokens * kv_width, seed + 1, 2.0f), tokens),
        v(ops, random_floats(tokens * kv_width, seed + 2), tokens),
        out(ops, std::vector<float>(static_cast<std::size_t>(tokens * query_width), -1.0f), tokens);
    const int page_count = (tokens + page_tokens - 1) / page_tokens;
    std::vector<PageId> pages;
    for (int p = 0; p < page_count; ++p) pages.push_back(1 + (pages_backwards ? page_count - 1 - p : p));
    const auto cache = ops.make_kv_cache(
        {2, static_cast<int>(heads.kv_heads.size()), heads.head_dim, page_count + 2, page_tokens, dtype});
    const float scale = 1.0f / std::sqrt(static_cast<float>(heads.head_dim));
    for (int begin = 0; begin < tokens; begin += chunk) {
      const int rows = std::min(chunk, tokens - begin);
      const std::vector<TokenId> ids(static_cast<std::size_t>(rows));
      // Only the pages that the rows see, as the scheduler has it.
      const int before = window > 0 ? std::max(0, begin + 1 - static_cast<int>(window)) / page_tokens : 0;
      const BatchSlice slice{0, rows,  begin, std::span(pages).subspan(static_cast<std::size_t>(before)),
                             0, before};
      const Batch batch{ids, {}, {&slice, 1}};
      const auto part = [&](const DeviceTensor& t) { return t.view.row_range(begin, begin + rows); };
      ops.write_kv(*cache, 1, part(k), part(v), batch);
      ops.attend(part(out), part(q), *cache, 1, batch, heads, {scale, window, soft_cap});
    }
    return out.take();
  }
};

}  // namespace llm_tp::testing

#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/kv_cache.h"
#include "kernels/device.h"

namespace llm_tp::testing {

inline std::vector<float> random_floats(std::size_t count, unsigned seed, float spread = 1.0f) {
  std::mt19937 bits(seed);
  std::vector<float> out(count);
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

inline CpuBackend cpu(int threads) { return CpuBackend({.threads = threads, .oversubscribed = true}); }

/// A sequence of `tokens` positions with random q, k, v, whose attention is computed in any number of steps.
struct AttentionCase {
  HeadMap heads{{0, 6}, {0, 2}, 3, 16};
  int tokens = 200;
  std::int64_t window = 0;
  float soft_cap = 0.0f;
  DType dtype = DType::kF32;
  int page_tokens = 16;
  unsigned seed = 1;

  std::size_t query_width() const {
    return static_cast<std::size_t>(heads.query_heads.size() * heads.head_dim);
  }
  std::size_t kv_width() const { return static_cast<std::size_t>(heads.kv_heads.size() * heads.head_dim); }
  std::vector<float> q() const {
    return random_floats(static_cast<std::size_t>(tokens) * query_width(), seed, 3.0f);
  }
  std::vector<float> k() const {
    return random_floats(static_cast<std::size_t>(tokens) * kv_width(), seed + 1, 2.0f);
  }
  std::vector<float> v() const {
    return random_floats(static_cast<std::size_t>(tokens) * kv_width(), seed + 2);
  }
  int pages() const { return (tokens + page_tokens - 1) / page_tokens; }
  AttentionOptions options() const {
    return {1.0f / std::sqrt(static_cast<float>(heads.head_dim)), window, soft_cap};
  }
  KvShape shape(int pages_in_cache) const {
    return {2, static_cast<int>(heads.kv_heads.size()), heads.head_dim, pages_in_cache, page_tokens, dtype};
  }
};

/// Fills a CPU cache with NaN of its dtype: what a token that was never written looks like at its worst.
inline void poison(KvCache& cache) {
  for (std::byte& byte : static_cast<CpuKvCache&>(cache).bytes()) byte = std::byte{0xff};
}

struct Steps {
  int chunk = 1 << 20;           // rows a step
  bool pages_backwards = false;  // the page table is last to first
  bool poisoned = false;         // CPU caches only
};

/// Attention of the whole case in steps of `steps.chunk` rows; [tokens, query heads * head_dim].
inline std::vector<float> attention_of(DeviceBackend& backend, const AttentionCase& c,
                                       const Steps& steps = {}) {
  std::vector<float> q = c.q(), k = c.k(), v = c.v(), out(q.size(), -1.0f);
  const auto cache = backend.make_kv_cache(c.shape(c.pages() + 2));
  if (steps.poisoned) poison(*cache);
  std::vector<PageId> pages;
  for (int p = 0; p < c.pages(); ++p) pages.push_back(1 + p);
  if (steps.pages_backwards) std::reverse(pages.begin(), pages.end());
  const auto query_width = static_cast<std::int64_t>(c.query_width()),
             kv_width = static_cast<std::int64_t>(c.kv_width());
  for (int begin = 0; begin < c.tokens; begin += steps.chunk) {
    const int rows = std::min(steps.chunk, c.tokens - begin);
    const std::vector<TokenId> tokens(static_cast<std::size_t>(rows));
    // Only the pages that the rows see, as the scheduler has it.
    const int before = c.window > 0 ? std::max(0, begin + 1 - static_cast<int>(c.window)) / c.page_tokens : 0;
    const BatchSlice slice{0, rows,  begin, std::span(pages).subspan(static_cast<std::size_t>(before)),
                           0, before};
    const Batch batch{tokens, {}, {&slice, 1}};
    backend.write_kv(*cache, 1, TensorView::matrix(k.data() + begin * kv_width, rows, kv_width),
                     TensorView::matrix(v.data() + begin * kv_width, rows, kv_width), batch);
    backend.attend(TensorView::matrix(out.data() + begin * query_width, rows, query_width),
                   TensorView::matrix(q.data() + begin * query_width, rows, query_width), *cache, 1, batch,
                   c.heads, c.options());
  }
  return out;
}

}  // namespace llm_tp::testing

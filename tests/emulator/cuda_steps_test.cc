// Steps of several sequences on the CUDA backend, emulated or on a GPU: each sequence as if it were alone.
#include <gtest/gtest.h>

#include "device_tensor.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"

namespace llm_tp::testing {
namespace {

/// Sequences of which all but the last `rows` positions are in the cache; the last are attended to together.
struct Sequence {
  std::int32_t first_position, rows;
  std::int32_t positions() const { return first_position + rows; }
};

class CudaSteps : public ::testing::Test {
 protected:
  static constexpr int kPageTokens = 16, kLayers = 3, kLayer = 1;
  HeadMap heads{{0, 4}, {0, 2}, 2, 24};
  std::vector<Sequence> sequences{{0, 5}, {20, 1}, {300, 1}, {17, 3}, {0, 40}};
  DType dtype = DType::kF16;
  bool used_pages = false;  // they hold NaN of earlier sequences
  std::int64_t window = 0;

  CudaBackend cuda{0, 1};

  /// Attention of sequences [from, to) in one step; rows as in a step of all.
  std::vector<float> attend(DeviceBackend& ops, std::size_t from, std::size_t to) const {
    std::vector<BatchSlice> written, read;
    std::vector<std::vector<PageId>> pages(sequences.size());
    std::vector<float> k, v, q;
    PageId next_page = 1;
    std::int32_t stored = 0, rows = 0;
    const auto append = [](std::vector<float>& to_end, std::int64_t count, std::size_t seed, float spread) {
      const std::vector<float> more = random_floats(count, static_cast<unsigned>(seed), spread);
      to_end.insert(to_end.end(), more.begin(), more.end());
    };
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const Sequence& mine = sequences[s];
      for (int p = 0; p < mine.positions(); p += kPageTokens) pages[s].push_back(next_page++);
      if (s < from || s >= to) continue;
      append(k, mine.positions() * 48, 10 * s + 1, 2.0f);
      append(v, mine.positions() * 48, 10 * s + 2, 1.0f);
      append(q, mine.rows * 96, 10 * s + 3, 3.0f);
      written.push_back({stored, mine.positions(), 0, pages[s], 0, 0});
      read.push_back({rows, mine.rows, mine.first_position, pages[s], 0, 0});
      stored += mine.positions();
      rows += mine.rows;
    }
    const auto cache = ops.make_kv_cache({kLayers, 2, 24, next_page, kPageTokens, dtype});
    if (used_pages) fill_with_nan(ops, *cache, next_page);
    const std::vector<TokenId> ids(static_cast<std::size_t>(stored));
    DeviceTensor keys(ops, k, stored), values(ops, v, stored), queries(ops, q, rows),
        out(ops, std::vector<float>(q.size(), -1.0f), rows);
    ops.write_kv(*cache, kLayer, keys.view, values.view, {ids, {}, written});
    ops.attend(out.view, queries.view, *cache, kLayer,
               {std::span(ids).first(static_cast<std::size_t>(rows)), {}, read}, heads, {0.2f, window});
    return out.take();
  }
  std::vector<float> attend(DeviceBackend& ops) const { return attend(ops, 0, sequences.size()); }

 private:
  static void fill_with_nan(DeviceBackend& ops, KvCache& cache, PageId pages) {
    std::vector<PageId> all(static_cast<std::size_t>(pages));
    for (PageId p = 0; p < pages; ++p) all[static_cast<std::size_t>(p)] = p;
    const std::int32_t positions = pages * kPageTokens;
    const std::vector<TokenId> ids(static_cast<std::size_t>(positions));
    const DeviceTensor nan(ops, std::vector<float>(static_cast<std::size_t>(positions) * 48, NAN), positions);
    const BatchSlice slice{0, positions, 0, all, 0, 0};
    for (int layer = 0; layer < kLayers; ++layer)
      ops.write_kv(cache, layer, nan.view, nan.view, {ids, {}, {&slice, 1}});
  }
};

TEST_F(CudaSteps, AttentionOfSeveralSequencesIsClose) {
  ReferenceBackend exact;
  for (const DType type : {DType::kF16, DType::kInt8})
    for (const std::int64_t keys : {0, 50}) {
      dtype = type;
      window = keys;
      const std::vector<float> got = attend(cuda), want = attend(exact);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-5) << i;
    }
}

TEST_F(CudaSteps, ASequenceHasTheBitsThatItHasAlone) {
  std::vector<std::uint32_t> alone;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto mine = bits_of(attend(cuda, s, s + 1));
    alone.insert(alone.end(), mine.begin(), mine.end());
  }
  EXPECT_EQ(bits_of(attend(cuda)), alone);
}

TEST_F(CudaSteps, WhatEarlierSequencesLeftInPagesChangesNothing) {
  for (const DType type : {DType::kF16, DType::kE4M3}) {
    dtype = type;
    used_pages = false;
    const auto clean = bits_of(attend(cuda));
    used_pages = true;
    EXPECT_EQ(bits_of(attend(cuda)), clean) << name_of(type);
  }
}

}  // namespace
}  // namespace llm_tp::testing

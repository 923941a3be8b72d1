#include "kernels/cpu/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention_case.h"

namespace llm_tp::testing {
namespace {

TEST(CpuAttention, TheChunksOfAPrefillDoNotChangeABit) {
  for (const int head_dim : {8, 24, 64}) {
    AttentionCase c;
    c.heads.head_dim = head_dim;
    CpuBackend backend = cpu(1);
    const auto whole = bits_of(attention_of(backend, c));
    for (const int chunk : {1, 7, 64, 512})
      EXPECT_EQ(bits_of(attention_of(backend, c, {.chunk = chunk})), whole) << head_dim << " by " << chunk;
  }
}

TEST(CpuAttention, NeitherThreadsNorThePageTableChangeABit) {
  AttentionCase c;
  c.tokens = 333;
  CpuBackend one = cpu(1), two = cpu(2);
  const auto alone = bits_of(attention_of(one, c));
  EXPECT_EQ(bits_of(attention_of(two, c)), alone);
  EXPECT_EQ(bits_of(attention_of(two, c, {.chunk = 100, .pages_backwards = true})), alone);
  c.page_tokens = 48;
  EXPECT_EQ(bits_of(attention_of(one, c)), alone);
  c.page_tokens = 128;
  EXPECT_EQ(bits_of(attention_of(two, c)), alone);
}

TEST(CpuAttention, MemoryThatHoldsNoTokenIsNeverRead) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8, DType::kE4M3}) {
    for (const std::int64_t window : {std::int64_t{0}, std::int64_t{20}}) {
      for (const int head_dim : {8, 24}) {
        AttentionCase c;
        c.heads.head_dim = head_dim;
        c.dtype = dtype;
        c.window = window;
        c.tokens = 83;
        CpuBackend backend = cpu(1);
        const auto clean = attention_of(backend, c);
        for (const float value : clean) ASSERT_TRUE(std::isfinite(value));
        EXPECT_EQ(bits_of(attention_of(backend, c, {.poisoned = true})), bits_of(clean)) << name_of(dtype);
        EXPECT_EQ(bits_of(attention_of(backend, c, {.chunk = 1, .poisoned = true})), bits_of(clean))
            << name_of(dtype);
      }
    }
  }
}

TEST(CpuAttention, CodesWithScalesGiveTheSameBitsInAnyChunkAndPage) {
  for (const DType dtype : {DType::kInt8, DType::kE4M3}) {
    AttentionCase c;
    c.dtype = dtype;
    CpuBackend one = cpu(1), two = cpu(2);
    const auto whole = bits_of(attention_of(one, c));
    for (const int chunk : {1, 7, 64})
      EXPECT_EQ(bits_of(attention_of(two, c, {.chunk = chunk, .pages_backwards = true})), whole) << chunk;
    c.page_tokens = 48;
    EXPECT_EQ(bits_of(attention_of(two, c)), whole) << name_of(dtype);
  }
}

TEST(CpuAttention, ANumberThatIsNotFiniteIsSeenThroughCodesToo) {
  for (const DType dtype : {DType::kInt8, DType::kE4M3}) {
    CpuBackend backend = cpu(1);
    const auto cache = backend.make_kv_cache({1, 1, 16, 1, 16, dtype});
    const std::vector<TokenId> tokens(1);
    const std::vector<PageId> pages{0};
    const BatchSlice slice{0, 1, 0, pages};
    const Batch batch{tokens, {}, {&slice, 1}};
    std::vector<float> q(16, 1.0f), k(16, 1.0f), v(16, 1.0f), out(16);
    v[3] = -std::numeric_limits<float>::infinity();
    const auto row = [](std::vector<float>& x) { return TensorView::matrix(x.data(), 1, 16); };
    backend.write_kv(*cache, 0, row(k), row(v), batch);
    backend.attend(row(out), row(q), *cache, 0, batch, {{0, 1}, {0, 1}, 1, 16}, {1.0f});
    for (const float value : out) EXPECT_TRUE(std::isnan(value)) << name_of(dtype);
  }
}

TEST(CpuAttention, AWindowGivesTheSameBitsInAnyChunk) {
  for (const std::int64_t window : {1, 5, 64, 100}) {
    AttentionCase c;
    c.window = window;
    CpuBackend one = cpu(1), two = cpu(2);
    const auto whole = bits_of(attention_of(one, c));
    for (const int chunk : {1, 7})
      EXPECT_EQ(bits_of(attention_of(two, c, {.chunk = chunk})), whole) << window;
  }
}

TEST(CpuAttention, AWindowOfOneGivesTheTokensOwnValue) {
  AttentionCase c;
  c.window = 1;
  CpuBackend backend = cpu(1);
  const auto out = attention_of(backend, c), v = c.v();
  for (int t = 0; t < c.tokens; ++t)
    for (int head = 0; head < 6; ++head)
      for (int d = 0; d < 16; ++d)
        ASSERT_EQ(out[static_cast<std::size_t>((t * 6 + head) * 16 + d)],
                  v[static_cast<std::size_t>((t * 2 + head / 3) * 16 + d)]);
}

TEST(CpuAttention, AWindowAsLongAsTheTextIsNoWindow) {
  AttentionCase c;
  CpuBackend backend = cpu(1);
  const auto all = bits_of(attention_of(backend, c));
  c.window = c.tokens;
  EXPECT_EQ(bits_of(attention_of(backend, c)), all);
}

TEST(CpuAttention, ARankWithSomeOfTheHeadsComputesThemAsTheWholeDoes) {
  // Nine query heads on three KV heads, cut behind the fifth: KV head 1 lives on both ranks.
  AttentionCase whole;
  whole.heads = {{0, 9}, {0, 3}, 3, 8};
  CpuBackend backend = cpu(1);
  const auto expected = attention_of(backend, whole);
  for (const auto& [queries, kvs] :
       {std::pair{Range{0, 5}, Range{0, 2}}, std::pair{Range{5, 9}, Range{1, 3}}}) {
    const HeadMap heads{queries, kvs, 3, 8};
    const auto rows = static_cast<std::int64_t>(whole.tokens);
    std::vector<float> q = whole.q(), k = whole.k(), v = whole.v();
    std::vector<float> out(static_cast<std::size_t>(rows * queries.size() * 8));
    const auto cache =
        backend.make_kv_cache({1, static_cast<int>(kvs.size()), 8, whole.pages(), 16, DType::kF32});
    std::vector<PageId> pages;
    for (int p = 0; p < whole.pages(); ++p) pages.push_back(p);
    const std::vector<TokenId> tokens(static_cast<std::size_t>(rows));
    const BatchSlice slice{0, whole.tokens, 0, pages};
    const Batch batch{tokens, {}, {&slice, 1}};
    const auto part = [rows](std::vector<float>& all, std::int64_t width, Range of) {
      return TensorView::matrix(all.data(), rows, width).column_range(of.begin * 8, of.end * 8);
    };
    backend.write_kv(*cache, 0, part(k, 24, kvs), part(v, 24, kvs), batch);
    const auto result = TensorView::matrix(out.data(), rows, queries.size() * 8);
    backend.attend(result, part(q, 72, queries), *cache, 0, batch, heads, whole.options());
    for (std::int64_t t = 0; t < rows; ++t)
      for (std::int64_t i = 0; i < queries.size() * 8; ++i)
        ASSERT_EQ(result.row(t)[i], expected[static_cast<std::size_t>(t * 72 + queries.begin * 8 + i)]);
  }
}

TEST(CpuAttention, ASequenceIsTheSameAloneAndInABatch) {
  std::vector<AttentionCase> cases(3);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    cases[i].seed = static_cast<unsigned>(10 * i + 1);
    cases[i].tokens = static_cast<int>(i == 0 ? 1 : 70 * i);
  }
  CpuBackend backend = cpu(2);
  const auto cache = backend.make_kv_cache(cases[0].shape(20));
  poison(*cache);
  std::vector<float> q, k, v;
  std::vector<std::uint32_t> expected;
  std::vector<std::vector<PageId>> pages(cases.size());
  std::vector<BatchSlice> slices;
  PageId next = 20;
  std::int32_t rows = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const AttentionCase& c = cases[i];
    for (auto [to, from] : {std::pair{&q, c.q()}, std::pair{&k, c.k()}, std::pair{&v, c.v()}})
      to->insert(to->end(), from.begin(), from.end());
    const auto alone = bits_of(attention_of(backend, c));
    expected.insert(expected.end(), alone.begin(), alone.end());
    for (int p = 0; p < c.pages(); ++p) pages[i].push_back(--next);
    slices.push_back({rows, c.tokens, 0, pages[i]});
    rows += c.tokens;
  }
  const std::vector<TokenId> tokens(static_cast<std::size_t>(rows));
  const Batch batch{tokens, {}, slices};
  std::vector<float> out(q.size());
  backend.write_kv(*cache, 0, TensorView::matrix(k.data(), rows, 32), TensorView::matrix(v.data(), rows, 32),
                   batch);
  backend.attend(TensorView::matrix(out.data(), rows, 96), TensorView::matrix(q.data(), rows, 96), *cache, 0,
                 batch, cases[0].heads, cases[0].options());
  EXPECT_EQ(bits_of(out), expected);
}

TEST(CpuAttention, ACopiedPageIsAsGoodAsTheFirst) {
  for (const DType dtype : {DType::kF32, DType::kInt8}) {
    AttentionCase c;
    c.dtype = dtype;
    c.tokens = 16;
    CpuBackend backend = cpu(1);
    const auto expected = bits_of(attention_of(backend, c));
    const auto cache = backend.make_kv_cache(c.shape(4));
    std::vector<float> q = c.q(), k = c.k(), v = c.v(), out(q.size());
    const std::vector<TokenId> tokens(16);
    const std::vector<PageId> first{3}, second{1};
    const BatchSlice from{0, 16, 0, first}, to{0, 16, 0, second};
    backend.write_kv(*cache, 1, TensorView::matrix(k.data(), 16, 32), TensorView::matrix(v.data(), 16, 32),
                     {tokens, {}, {&from, 1}});
    backend.copy_pages(*cache, first, second);
    backend.attend(TensorView::matrix(out.data(), 16, 96), TensorView::matrix(q.data(), 16, 96), *cache, 1,
                   {tokens, {}, {&to, 1}}, c.heads, c.options());
    EXPECT_EQ(bits_of(out), expected) << name_of(dtype);
  }
}

TEST(CpuAttention, APageThatDoesNotExistIsRefused) {
  AttentionCase c;
  CpuBackend backend = cpu(1);
  const auto cache = backend.make_kv_cache(c.shape(2));
  std::vector<float> q(96), out(96);
  const std::vector<TokenId> tokens(1);
  const std::vector<PageId> pages{2};
  const BatchSlice slice{0, 1, 0, pages}, short_of_pages{0, 1, 16, pages};
  for (const BatchSlice& bad : {slice, short_of_pages})
    EXPECT_THROW(backend.attend(TensorView::matrix(out.data(), 1, 96), TensorView::matrix(q.data(), 1, 96),
                                *cache, 0, {tokens, {}, {&bad, 1}}, c.heads, c.options()),
                 Error);
}

}  // namespace
}  // namespace llm_tp::testing

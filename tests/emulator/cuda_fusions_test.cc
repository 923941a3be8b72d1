// Ops that the CUDA backend makes in one pass: against what they are made of, bit by bit, and against the
// reference.
#include <gtest/gtest.h>

#include "comm/communicator.h"
#include "device_tensor.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device_rows.h"
#include "kernels/cuda/rank_sums.h"
#include "kernels/reference/reference_backend.h"

namespace llm_tp::testing {
namespace {

/// How an op of two is called: in one pass where the backend has one, or as the interface composes it.
enum class Call { kFused, kComposed };

void expect_near(const std::vector<float>& got, const std::vector<float>& want, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * (1.0 + std::fabs(want[i]))) << what << ", element " << i;
}

struct HeadsCase {
  HeadMap heads;
  std::int64_t rotary = 0;
  bool norms = false;
  DType dtype = DType::kF16;

  /// Two sequences of one step, three and one rows, the second in the middle of a page: queries and keys as
  /// they are left, then attention's output, which reads the pages.
  std::vector<float> run(DeviceBackend& ops, Call call) const {
    constexpr std::int64_t kRows = 4;
    const std::int64_t queries = heads.query_heads.size() * heads.head_dim,
                       columns = queries + 2 * heads.kv_heads.size() * heads.head_dim;
    DeviceTensor qkv(ops, random_floats(kRows * columns, 1, 2.0f), kRows),
        query_norm(ops, random_floats(heads.head_dim, 2), 1),
        key_norm(ops, random_floats(heads.head_dim, 3), 1),
        angles(ops, random_floats(kRows * std::max<std::int64_t>(rotary, 1), 4), kRows),
        out(ops, std::vector<float>(static_cast<std::size_t>(kRows * queries)), kRows);
    const auto cache =
        ops.make_kv_cache({2, static_cast<int>(heads.kv_heads.size()), heads.head_dim, 4, 16, dtype});
    const std::vector<TokenId> ids(kRows);
    const std::vector<PageId> of_first{2}, of_second{3, 1};
    const BatchSlice slices[] = {{0, 3, 0, of_first}, {3, 1, 18, of_second}};
    const Batch batch{ids, {}, slices};
    HeadSteps steps;
    if (norms) steps = {query_norm.vector(), key_norm.vector(), 1e-5f};
    if (rotary > 0) steps.cos_sin = angles.view;
    if (call == Call::kFused)
      ops.prepare_heads(qkv.view, heads, steps, *cache, 1, batch);
    else
      ops.DeviceBackend::prepare_heads(qkv.view, heads, steps, *cache, 1, batch);
    std::vector<float> result = qkv.take();
    // The second sequence sees its own row alone: earlier ones were never written.
    ops.attend(out.view, qkv.view.column_range(0, queries), *cache, 1, batch, heads, {0.25f, 1});
    const std::vector<float> attended = out.take();
    result.insert(result.end(), attended.begin(), attended.end());
    return result;
  }
};

TEST(CudaFusions, HeadsArePreparedInOnePassAsStepByStep) {
  CudaBackend cuda(0, 1);
  ReferenceBackend exact;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8, DType::kE4M3})
    for (const HeadsCase& c : {HeadsCase{{{0, 6}, {0, 2}, 3, 16}, 16, true, dtype},
                               HeadsCase{{{2, 7}, {0, 3}, 3, 40}, 24, true, dtype},
                               HeadsCase{{{0, 1}, {0, 1}, 1, 128}, 128, false, dtype},
                               HeadsCase{{{0, 4}, {0, 1}, 4, 72}, 0, true, dtype},
                               HeadsCase{{{0, 2}, {0, 2}, 1, 256}, 256, true, dtype}}) {
      const std::string what = std::string(name_of(dtype)) + ", head_dim " + std::to_string(c.heads.head_dim);
      const std::vector<float> fused = c.run(cuda, Call::kFused);
      EXPECT_EQ(bits_of(fused), bits_of(c.run(cuda, Call::kComposed))) << what;
      // One step of int8 or fp8 may fall to the other side of a tie.
      const bool coarse = dtype != DType::kF32;
      expect_near(fused, c.run(exact, Call::kComposed), coarse ? 0.1 : 4e-6, what);
    }
}

/// Queries, keys and values of tokens by a weight, their heads, and attention to them.
struct QkvCase {
  HeadsCase heads_case;
  DType weight = DType::kBF16;
  std::int32_t tokens = 1;
  bool biased = false;

  std::vector<float> run(CudaBackend& ops, Call call, int times) const {
    const HeadMap& heads = heads_case.heads;
    const std::int64_t queries = heads.query_heads.size() * heads.head_dim,
                       columns = queries + 2 * heads.kv_heads.size() * heads.head_dim;
    const RandomWeight weights(weight, columns, LeafCut::whole(96, 32), 9);
    const auto packed = weights.pack(ops);
    DeviceTensor x(ops, random_floats(tokens * 96, 1, 2.0f), tokens), bias(ops, random_floats(columns, 2), 1),
        qkv(ops, std::vector<float>(static_cast<std::size_t>(tokens * columns)), tokens),
        query_norm(ops, random_floats(heads.head_dim, 3), 1),
        key_norm(ops, random_floats(heads.head_dim, 4), 1),
        angles(ops, random_floats(tokens * std::max<std::int64_t>(heads_case.rotary, 1), 5), tokens),
        out(ops, std::vector<float>(static_cast<std::size_t>(tokens * queries)), tokens);
    const auto cache = ops.make_kv_cache(
        {2, static_cast<int>(heads.kv_heads.size()), heads.head_dim, 4, 16, heads_case.dtype});
    const std::vector<TokenId> ids(static_cast<std::size_t>(tokens));
    const std::vector<PageId> pages{2, 1};
    const BatchSlice slice{0, tokens, 9, pages};
    const Batch batch{ids, {}, {&slice, 1}};
    HeadSteps steps;
    if (heads_case.norms) steps = {query_norm.vector(), key_norm.vector(), 1e-5f};
    if (heads_case.rotary > 0) steps.cos_sin = angles.view;
    const TensorView added = biased ? bias.vector() : TensorView{};
    for (int i = 0; i < times; ++i)
      if (call == Call::kFused)
        ops.linear_heads(qkv.view, x.view, *packed, added, heads, steps, *cache, 1, batch);
      else
        ops.DeviceBackend::linear_heads(qkv.view, x.view, *packed, added, heads, steps, *cache, 1, batch);
    std::vector<float> result = qkv.take();
    ops.attend(out.view, qkv.view.column_range(0, queries), *cache, 1, batch, heads, {0.25f, tokens});
    const std::vector<float> attended = out.take();
    result.insert(result.end(), attended.begin(), attended.end());
    return result;
  }
};

// Heads inside a block's 16 rows, of several blocks, over the edges of blocks; one token, few, more than
// eight.
TEST(CudaFusions, ProductsOfQueriesKeysAndValuesGoOnWithTheirHeads) {
  CudaBackend cuda(0, 1);
  for (const std::int32_t tokens : {1, 3, 16})
    for (const HeadsCase& c : {HeadsCase{{{0, 6}, {0, 2}, 3, 8}, 8, true, DType::kF16},
                               HeadsCase{{{2, 7}, {0, 3}, 3, 40}, 24, true, DType::kBF16},
                               HeadsCase{{{0, 1}, {0, 1}, 1, 128}, 128, false, DType::kInt8},
                               HeadsCase{{{0, 4}, {0, 1}, 4, 72}, 0, true, DType::kE4M3},
                               HeadsCase{{{0, 2}, {0, 2}, 1, 256}, 256, true, DType::kF32}})
      for (const DType weight : {DType::kBF16, DType::kQ8_0}) {
        const QkvCase qkv{c, weight, tokens, c.norms};
        // Twice: what the first counted is 0 again.
        EXPECT_EQ(bits_of(qkv.run(cuda, Call::kFused, 2)), bits_of(qkv.run(cuda, Call::kComposed, 1)))
            << tokens << " tokens, " << name_of(weight) << ", head_dim " << c.heads.head_dim;
      }
}

TEST(CudaFusions, ARankWithoutHeadsPreparesNothing) {
  CudaBackend cuda(0, 1);
  const auto cache = cuda.make_kv_cache({1, 0, 16, 4, 16, DType::kF16});
  DeviceTensor qkv(cuda, {}, 0);
  const std::vector<TokenId> ids(2);
  const std::vector<PageId> pages{0};
  const BatchSlice slice{0, 2, 0, pages};
  cuda.prepare_heads(TensorView::matrix(qkv.view.data, DType::kF32, 2, 0, 0), {{3, 3}, {1, 1}, 3, 16}, {},
                     *cache, 0, {ids, {}, {&slice, 1}});
  cuda.synchronize();
}

TEST(CudaFusions, AResidualIsAddedAndNormedInOnePassAsInTwo) {
  CudaBackend cuda(0, 1);
  ReferenceBackend exact;
  for (const std::int64_t width : {1, 37, 300, 1100})
    for (const bool biased : {false, true}) {
      const auto run = [&](DeviceBackend& ops, Call call) {
        DeviceTensor h(ops, random_floats(3 * width, 1, 2.0f), 3), x(ops, random_floats(3 * width, 2), 3),
            bias(ops, random_floats(width, 3), 1), weight(ops, random_floats(width, 4), 1),
            out(ops, std::vector<float>(static_cast<std::size_t>(3 * width)), 3);
        const TensorView added = biased ? bias.vector() : TensorView{};
        const ResidualNorm norm{out.view, h.view, added, 0.3f, weight.vector(), 1e-5f};
        if (call == Call::kFused)
          ops.add_norm(norm, x.view);
        else
          ops.DeviceBackend::add_norm(norm, x.view);
        std::vector<float> result = h.take();
        const std::vector<float> normed = out.take();
        result.insert(result.end(), normed.begin(), normed.end());
        return result;
      };
      const std::vector<float> fused = run(cuda, Call::kFused);
      EXPECT_EQ(bits_of(fused), bits_of(run(cuda, Call::kComposed))) << width;
      expect_near(fused, run(exact, Call::kComposed), 6e-7, std::to_string(width));
    }
}

/// act(gate) * up of x, by a weight whose rows lie in order or pair by pair.
std::vector<std::uint32_t> gated_product(DeviceBackend& ops, const RandomWeight& weight, std::int64_t tokens,
                                         bool biased, Activation activation, Call call) {
  const WeightSpec spec = weight.spec();
  const std::int64_t columns = spec.rows / 2;
  const auto packed = weight.pack(ops);
  DeviceTensor x(ops, random_floats(tokens * spec.columns(), 1, 2.0f), tokens),
      bias(ops, random_floats(spec.rows, 2), 1),
      between(ops, std::vector<float>(static_cast<std::size_t>(tokens * spec.rows)), tokens),
      out(ops, std::vector<float>(static_cast<std::size_t>(tokens * columns), -1.0f), tokens);
  const TensorView added = biased ? bias.vector() : TensorView{};
  if (call == Call::kFused)
    ops.linear_gated(out.view, between.view, x.view, *packed, added, activation);
  else
    ops.DeviceBackend::linear_gated(out.view, between.view, x.view, *packed, added, activation);
  return bits_of(out.take());
}

TEST(CudaFusions, AProductIsGatedInOnePassAsInTwo) {
  CudaBackend cuda(0, 1);
  int turn = 0;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
    for (const std::int64_t columns : {1, 5, 8, 21})
      for (const std::int64_t tokens : {1, 3, 9, 16, 17}) {
        // Four leaves: more than one a product's tree.
        const RandomWeight weight(dtype, 2 * columns, {128, 32, 4}, 7);
        const bool biased = ++turn % 2 == 0;
        const Activation activation = turn % 3 == 0 ? Activation::kGelu : Activation::kSilu;
        const auto want = gated_product(cuda, weight, tokens, biased, activation, Call::kComposed);
        for (const Call call : {Call::kFused, Call::kComposed})
          EXPECT_EQ(gated_product(cuda, weight.gated(), tokens, biased, activation, call), want)
              << name_of(dtype) << ", " << columns << " columns, " << tokens << " tokens, "
              << (call == Call::kFused ? "fused" : "composed");
      }
}

TEST(CudaFusions, ARankWithoutColumnsGatesNothing) {
  CudaBackend cuda(0, 1);
  const auto packed = RandomWeight(DType::kBF16, 0, LeafCut::whole(32, 16), 1).gated().pack(cuda);
  DeviceTensor x(cuda, random_floats(32, 1), 1);
  const TensorView none = TensorView::matrix(x.view.data, DType::kF32, 1, 0, 0);
  cuda.linear_gated(none, none, x.view, *packed, {}, Activation::kSilu);
  cuda.synchronize();
}

TEST(CudaFusions, RootsAreSummedAddedAndNormedInOnePassAsInTwo) {
  CudaBackend cuda(0, 1);
  for (const int leaves : {1, 7, 300})  // the last: more roots than a kernel takes the list of
    for (const std::int64_t width : {1, 300, 2100}) {
      if (leaves == 300 && width > 1) continue;
      std::vector<Range> runs;
      for (int leaf = 0; leaf < (leaves == 300 ? leaves : 0); ++leaf) runs.push_back({leaf, leaf + 1});
      if (runs.empty()) runs.push_back({0, leaves});
      const TreeParts parts(runs);
      const auto run = [&](Call call) {
        DeviceTensor h(cuda, random_floats(3 * width, 1, 2.0f), 3), bias(cuda, random_floats(width, 3), 1),
            roots(cuda, random_floats(parts.total_roots() * 3 * width, 2), parts.total_roots()),
            weight(cuda, random_floats(width, 4), 1), out(cuda, random_floats(3 * width, 5), 3),
            sum(cuda, random_floats(3 * width, 6), 3);
        const ResidualNorm norm{out.view, h.view, bias.vector(), 0.3f, weight.vector(), 1e-5f};
        auto* const from = reinterpret_cast<float*>(roots.view.data);
        if (call == Call::kFused) {
          tree_add_norm(cuda.stream(), residual_norm_of(norm), from, 3 * width, parts.additions());
        } else {
          tree_sum(cuda.stream(), reinterpret_cast<float*>(sum.view.data), from, 3 * width, 3 * width,
                   parts.additions());
          cuda.add_norm(norm, sum.view);
        }
        std::vector<float> result = h.take();
        const std::vector<float> normed = out.take();
        result.insert(result.end(), normed.begin(), normed.end());
        return bits_of(result);
      };
      EXPECT_EQ(run(Call::kFused), run(Call::kComposed)) << leaves << " leaves, rows of " << width;
    }
}

}  // namespace
}  // namespace llm_tp::testing

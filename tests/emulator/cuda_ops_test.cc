// The CUDA backend, emulated or on a GPU, against the reference in double precision, and against itself bit
// by bit.
#include <gtest/gtest.h>

#include <numeric>

#include "comm/ipc/peer_tree.h"
#include "comm/tree_reduce.h"
#include "device_tensor.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/rank_sums.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/score_reader.h"
#include "mixture_case.h"
#include "virtual_ranks.h"
#ifndef LLM_TP_REAL_GPU
#include "emulator/block_runner.h"
#include "emulator/fake_device.h"
#include "emulator/kernel_symbols.h"
#endif

namespace llm_tp::testing {
namespace {

constexpr DType kWeightTypes[] = {
    DType::kF32,      DType::kF16,     DType::kBF16,     DType::kQ8_0,   DType::kQ4_0,    DType::kQ4_1,
    DType::kQ5_0,     DType::kQ4K,     DType::kQ5K,      DType::kQ6K,    DType::kInt4G32, DType::kInt4G64,
    DType::kInt4G128, DType::kInt8G32, DType::kInt8G128, DType::kFp8G32, DType::kFp8G128};

/// At least so many columns, in whole blocks.
LeafCut whole_cut(DType dtype, std::int64_t columns) {
  const std::int64_t block = std::max(block_elements(dtype), 32);
  return LeafCut::whole((columns + block - 1) / block * block, block);
}

class CudaOps : public ::testing::Test {
 protected:
  CudaBackend cuda{0, 1};
  ReferenceBackend exact;

  /// op(backend) on both. Relative to the largest number: sums of some hundred terms of size one.
  template <class Op>
  void expect_close(const Op& op, double tolerance, const std::string& what) {
    const std::vector<float> got = op(cuda), want = op(exact);
    ASSERT_EQ(got.size(), want.size());
    float largest = 1.0f;
    for (const float x : want) largest = std::max(largest, std::fabs(x));
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], tolerance * largest) << what << ", element " << i;
  }
};

std::vector<float> product(DeviceBackend& ops, const RandomWeight& weight, std::int64_t tokens,
                           bool bias = false) {
  const WeightSpec spec = weight.spec();
  const auto packed = weight.pack(ops);
  DeviceTensor x(ops, random_floats(tokens * spec.columns(), 5), tokens),
      out(ops, std::vector<float>(static_cast<std::size_t>(tokens * spec.rows), -1.0f), tokens),
      added(ops, random_floats(spec.rows, 6), 1);
  ops.linear(out.view, x.view, *packed, bias ? added.vector() : TensorView{});
  return out.take();
}

TEST_F(CudaOps, AProductOfFewTokensIsClose) {
  for (const DType dtype : kWeightTypes)
    for (const std::int64_t tokens : {1, 9})
      expect_close(
          [&](DeviceBackend& ops) {
            return product(ops, {dtype, 40, whole_cut(dtype, 544), 7}, tokens, tokens > 1);
          },
          6e-6, std::string(name_of(dtype)) + ", " + std::to_string(tokens));
}

TEST_F(CudaOps, AProductOfManyTokensIsClose) {
  for (const DType dtype : kWeightTypes)
    expect_close(
        [&](DeviceBackend& ops) {
          return product(ops, {dtype, 24, whole_cut(dtype, 544), 8}, 35, true);
        },
        6e-6, std::string(name_of(dtype)));
}

TEST_F(CudaOps, ATokensProductIsTheSameAloneAndAmongMany) {
  // 16 leaves: two for each warp of a few tokens' block.
  constexpr std::int64_t kTokens = 37;
  for (const DType dtype : kWeightTypes) {
    const std::int64_t block = std::max(block_elements(dtype), 32), columns = 20 * block;
    const RandomWeight weight(dtype, 24, LeafCut::split(columns, block), 9);
    const auto packed = weight.pack(cuda);
    ASSERT_EQ(packed->roots().size(), 1u);
    DeviceTensor x(cuda, random_floats(kTokens * columns, 5), kTokens);
    const auto rows = [&](std::int64_t begin, std::int64_t end) {
      DeviceTensor out(cuda, std::vector<float>(static_cast<std::size_t>((end - begin) * 24)), end - begin);
      cuda.linear(out.view, x.view.row_range(begin, end), *packed, {});
      return bits_of(out.take());
    };
    const auto all = rows(0, kTokens);
    for (const auto& [begin, end] : {std::pair{0, 1}, std::pair{36, 37}, std::pair{3, 16}, std::pair{0, 33}})
      EXPECT_EQ(rows(begin, end),
                std::vector<std::uint32_t>(all.begin() + begin * 24, all.begin() + end * 24))
          << name_of(dtype) << " rows " << begin << " to " << end;
  }
}

TEST_F(CudaOps, ATokensProductIsTheSameWhereBlocksHaveSeveralRowsOfTiles) {
  struct Case {
    std::int64_t rows;
    int leaves;
    DType dtype;
  };
  // Two and four rows of tiles a block, of which the last one has but one; more leaves than two tiles of
  // tokens have room for.
  for (const auto& [rows, leaves, dtype] :
       {Case{4120, 4, DType::kQ4_1}, Case{8200, 2, DType::kBF16}, Case{20, 128, DType::kBF16}}) {
    const RandomWeight weight(dtype, rows, {32 * leaves, 32, leaves}, 9);
    const auto packed = weight.pack(cuda);
    DeviceTensor x(cuda, random_floats(9 * 32 * leaves, 5), 9);
    const auto product = [&](std::int64_t begin, std::int64_t end) {
      DeviceTensor out(cuda, std::vector<float>(static_cast<std::size_t>((end - begin) * rows)), end - begin);
      cuda.linear(out.view, x.view.row_range(begin, end), *packed, {});
      return bits_of(out.take());
    };
    const auto all = product(0, 9);
    for (const auto& [begin, end] : {std::pair{2, 3}, std::pair{8, 9}, std::pair{0, 8}})
      EXPECT_EQ(product(begin, end),
                std::vector<std::uint32_t>(all.begin() + begin * rows, all.begin() + end * rows))
          << name_of(dtype) << " rows " << begin << " to " << end;
  }
}

TEST_F(CudaOps, TheRootsOfAnyCutAddUpToTheSameBits) {
  // Seven leaves of 24 columns, as attention heads of 24: no multiple of a tile. Of 25: pairs of numbers lie
  // at odd places.
  for (const std::int64_t width : {24, 25})
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      const LeafCut cut{7 * width, width, 7};
      const RandomWeight weight(dtype, 20, cut, 3);
      std::vector<std::vector<std::uint32_t>> sums;  // of the first three tokens, or of one
      for (const std::int64_t tokens : {3, 20, 1}) {
        const std::vector<float> x = random_floats(tokens * cut.columns, 4);
        for (const std::vector<int>& ends : {std::vector{7}, {4, 7}, {1, 3, 7}, {2, 5, 6, 7}}) {
          std::vector<std::vector<float>> roots;
          std::vector<TreeRoot> places;
          int begin = 0;
          for (const int end : ends) {
            const Range leaves{begin, end}, columns = cut.columns_of(leaves);
            const auto packed = weight.pack(cuda, leaves);
            const auto count = static_cast<std::int64_t>(packed->roots().size());
            DeviceTensor whole(cuda, x, tokens),
                out(cuda, std::vector<float>(static_cast<std::size_t>(count * tokens * 20)), count * tokens);
            const TensorView stack{out.view.data, DType::kF32, 3, {count, tokens, 20, 0}, 20};
            cuda.linear_roots(stack, whole.view.column_range(columns.begin, columns.end), *packed);
            const std::vector<float> got = out.take();
            for (std::int64_t r = 0; r < count; ++r)
              roots.emplace_back(got.begin() + r * tokens * 20, got.begin() + (r + 1) * tokens * 20);
            places.insert(places.end(), packed->roots().begin(), packed->roots().end());
            begin = end;
          }
          for (const TreeAddition& a : additions_above(places))
            for (std::size_t i = 0; i < roots[0].size(); ++i)
              roots[static_cast<std::size_t>(a.into)][i] += roots[static_cast<std::size_t>(a.from)][i];
          roots[0].resize(static_cast<std::size_t>(std::min<std::int64_t>(3, tokens)) * 20);
          sums.push_back(bits_of(roots[0]));
        }
      }
      for (const auto& sum : sums) {
        const std::vector<std::uint32_t> want(sums[0].begin(), sums[0].begin() + std::ssize(sum));
        EXPECT_EQ(sum, want) << name_of(dtype) << ", " << width << " columns";
      }
    }
}

// Queries and weights of softmax have 16 bits, f32 caches' 24: 2^-17 of scores of up to 10, over what sums
// of 24 bits lose.
constexpr DType kCacheTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8, DType::kE4M3};
double attention_tolerance(DType cache_dtype) { return cache_dtype == DType::kF32 ? 6e-6 : 3e-5; }

TEST_F(CudaOps, Attention) {
  struct Shape {
    HeadMap heads;
    std::int64_t window;
    int tokens;
  };
  const Shape shapes[] = {{{{0, 6}, {0, 2}, 3, 8}, 0, 70},
                          {{{0, 4}, {0, 4}, 1, 24}, 0, 33},
                          {{{0, 4}, {0, 2}, 2, 20}, 0, 33},  // runs of eight end inside, at odd places
                          {{{5, 9}, {1, 3}, 3, 64}, 17, 40},
                          {{{0, 8}, {0, 1}, 8, 80}, 0, 20}};
  for (const Shape& shape : shapes)
    for (const DType dtype : kCacheTypes) {
      AttentionCase c;
      c.heads = shape.heads;
      c.window = shape.window;
      c.tokens = shape.tokens;
      c.dtype = dtype;
      expect_close([&](DeviceBackend& ops) { return c.run(ops); }, attention_tolerance(dtype),
                   std::string(name_of(dtype)) + ", head_dim " + std::to_string(shape.heads.head_dim));
    }
}

TEST_F(CudaOps, AttentionWithASoftCap) {
  AttentionCase c;
  c.soft_cap = 3.0f;
  expect_close([&](DeviceBackend& ops) { return c.run(ops); }, attention_tolerance(c.dtype), "soft cap");
}

TEST_F(CudaOps, AttentionOfHeadsOf256FitsIntoTheSharedMemoryOfSmallChips) {
  AttentionCase c;
  c.heads = {{0, 2}, {0, 1}, 2, 256};
  c.tokens = 18;
  c.dtype = DType::kF32;
  expect_close([&](DeviceBackend& ops) { return c.run(ops); }, 6e-6, "head_dim 256");
}

TEST_F(CudaOps, TheChunksOfAPrefillDoNotChangeABitOfAttention) {
  for (const std::int64_t window : {0, 21}) {
    AttentionCase c;
    c.tokens = 53;
    c.window = window;
    const auto whole = bits_of(c.run(cuda));
    for (const int chunk : {1, 7, 32})
      EXPECT_EQ(bits_of(c.run(cuda, chunk)), whole) << window << " by " << chunk;
    EXPECT_EQ(bits_of(c.run(cuda, 30, true)), whole) << "pages last to first";
    c.page_tokens = 48;
    EXPECT_EQ(bits_of(c.run(cuda)), whole) << "larger pages";
  }
}

// A prefill's warps divide rows, a step's of few rows divide keys and columns.
TEST_F(CudaOps, WarpsThatDivideKeysGiveTheBitsOfWarpsThatDivideRows) {
  for (const int head_dim : {16, 20, 32, 64, 80, 128, 256})
    for (const DType dtype : kCacheTypes) {
      AttentionCase c;
      c.heads = {{0, 3}, {0, 1}, 3, head_dim};
      c.tokens = 70;  // beyond the largest tile
      c.dtype = dtype;
      c.window = head_dim == 32 ? 50 : 0;
      c.soft_cap = head_dim == 80 ? 20.0f : 0.0f;
      // Only the last steps: the first are a prefill's in both.
      const auto whole = bits_of(c.run(cuda));
      EXPECT_EQ(bits_of(c.run(cuda, 65)), whole) << name_of(dtype) << ", head_dim " << head_dim;
    }
}

// Of 20 queries at positions 252 to 256 the first 16, a warp's, see nothing of the second chunk of keys.
TEST_F(CudaOps, AWarpThatSeesNothingOfAChunkAddsNothing) {
  for (const DType dtype : kCacheTypes) {
    AttentionCase c;
    c.heads = {{0, 4}, {0, 1}, 4, 16};
    c.tokens = 257;
    c.dtype = dtype;
    const auto whole = bits_of(c.run(cuda));
    EXPECT_EQ(bits_of(c.run(cuda, 252)), whole) << name_of(dtype);
    EXPECT_EQ(bits_of(c.run(cuda, 254)), whole) << name_of(dtype);
  }
}

TEST_F(CudaOps, ChunksOfKeysThatMeetLaterGiveTheBitsOfOneBlock) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kInt8}) {
    AttentionCase c;
    c.heads = {{0, 2}, {0, 1}, 2, 8};
    c.tokens = 530;  // three chunks of keys
    c.dtype = dtype;
    expect_close([&](DeviceBackend& ops) { return c.run(ops); }, attention_tolerance(dtype),
                 std::string(name_of(dtype)));
    // The last ten and the last five tokens by themselves: few enough rows for a block a chunk, whose warps
    // divide rows and keys.
    const auto whole = bits_of(c.run(cuda));
    EXPECT_EQ(bits_of(c.run(cuda, 520)), whole) << name_of(dtype);
    EXPECT_EQ(bits_of(c.run(cuda, 525)), whole) << name_of(dtype);
  }
}

struct SmallOp {
  const char* name;
  std::vector<float> (*run)(DeviceBackend&);
  double tolerance;
};
std::vector<SmallOp> small_ops() {
  return {
      {"rms_norm",
       [](DeviceBackend& ops) {
         DeviceTensor x(ops, random_floats(3 * 300, 1, 2.0f), 3), weight(ops, random_floats(300, 2), 1);
         ops.rms_norm(x.view, x.view, weight.vector(), 1e-5f);
         return x.take();
       },
       6e-7},
      {"rope",
       [](DeviceBackend& ops) {
         // 144 pairs: more than a block.
         DeviceTensor x(ops, random_floats(5 * 400, 1), 5), angles(ops, random_floats(5 * 32, 2), 5);
         ops.rope(x.view.column_range(0, 360), angles.view, 40);
         return x.take();
       },
       5e-7},
      {"silu_mul",
       [](DeviceBackend& ops) {
         DeviceTensor x(ops, random_floats(2 * 600, 3, 100.0f), 2), out(ops, std::vector<float>(600), 2);
         ops.silu_mul(out.view, x.view);
         return out.take();
       },
       5e-7},
      {"add",
       [](DeviceBackend& ops) {
         DeviceTensor h(ops, random_floats(3 * 37, 4), 3), x(ops, random_floats(3 * 37, 5), 3),
             bias(ops, random_floats(37, 6), 1);
         ops.add(h.view, x.view, bias.vector(), 1.0f);
         ops.add(h.view, x.view, {}, 0.3f);
         ops.scale(h.view, 0.7f);
         return h.take();
       },
       5e-7},
      {"gelu_mul",
       [](DeviceBackend& ops) {
         DeviceTensor x(ops, random_floats(2 * 600, 3, 9.0f), 2), out(ops, std::vector<float>(600), 2);
         ops.gelu_mul(out.view, x.view);
         return out.take();
       },
       2e-6},
      {"norms of heads",
       [](DeviceBackend& ops) {
         DeviceTensor x(ops, random_floats(3 * 60, 7), 3), weight(ops, random_floats(20, 8), 1),
             squares(ops, std::vector<float>(9), 3), all(ops, random_floats(60, 9), 1);
         ops.norm_heads(x.view, weight.vector(), 1e-6f);
         ops.head_squares(squares.view, x.view);
         ops.norm_by_squares(x.view, squares.view, 60, all.vector(), 1e-6f);
         return x.take();
       },
       1e-6},
      {"rows of experts",
       [](DeviceBackend& ops) {
         DeviceTensor out(ops, random_floats(3 * 40, 1), 3), x(ops, random_floats(4 * 40, 2), 4);
         const std::vector<std::int32_t> rows{2, 0, 2, 2};
         const std::vector<float> weights{0.5f, 0.25f, 0.125f, 3.0f};
         ops.clear(out.view.column_range(0, 10));
         ops.add_rows(out.view, x.view, rows, weights);
         ops.soft_cap(out.view, 2.0f);
         return out.take();
       },
       1e-6},
      {"gather_rows",
       [](DeviceBackend& ops) {
         DeviceTensor x(ops, random_floats(4 * 130, 4), 4), out(ops, std::vector<float>(2 * 130), 2);
         const std::vector<std::int32_t> rows{3, 1};
         ops.gather_rows(out.view, x.view, rows);
         return out.take();
       },
       0},
  };
}

TEST_F(CudaOps, SmallOpsAreClose) {
  for (const SmallOp& op : small_ops()) expect_close(op.run, op.tolerance, op.name);
}

TEST_F(CudaOps, RopeAddAndEmbedHaveTheBitsOfTheCpu) {
  CpuBackend cpu({.threads = 1, .oversubscribed = true});
  for (const SmallOp& op : small_ops())
    if (op.name == std::string("rope") || op.name == std::string("add") ||
        op.name == std::string("gather_rows")) {
      EXPECT_EQ(bits_of(op.run(cuda)), bits_of(op.run(cpu))) << op.name;
    }
  for (const DType dtype : kWeightTypes) {
    const auto rows = [&](DeviceBackend& ops) {
      const LeafCut cut = whole_cut(dtype, 128);  // with 20 rows, some of every code of 8 bits
      const auto table = RandomWeight(dtype, 20, cut, 5).pack(ops);
      std::vector<TokenId> tokens(20);
      std::iota(tokens.rbegin(), tokens.rend(), 0);
      DeviceTensor out(ops, std::vector<float>(static_cast<std::size_t>(20 * cut.columns)), 20);
      ops.embed(out.view, tokens, *table, {0, 20});
      return bits_of(out.take());
    };
    EXPECT_EQ(rows(cuda), rows(cpu)) << name_of(dtype);
  }
}

TEST_F(CudaOps, EmbedGivesTheRowsOfThisRankAndZeros) {
  for (const DType dtype : kWeightTypes)
    expect_close(
        [&](DeviceBackend& ops) {
          const LeafCut cut = whole_cut(dtype, 96);
          const auto table = RandomWeight(dtype, 21, cut, 5).pack(ops);
          const std::vector<TokenId> tokens{100, 99, 120, 121, 107, 116};
          DeviceTensor out(ops, std::vector<float>(static_cast<std::size_t>(6 * cut.columns), -1.0f), 6);
          ops.embed(out.view, tokens, *table, {100, 121});
          return out.take();
        },
        0, std::string(name_of(dtype)));
}

TEST_F(CudaOps, ACopiedPageIsAsGoodAsTheFirst) {
  for (const DType dtype : {DType::kF16, DType::kInt8}) {
    const auto copied = [dtype](DeviceBackend& ops) {
      const HeadMap heads{{0, 2}, {0, 2}, 1, 16};
      const auto cache = ops.make_kv_cache({3, 2, 16, 5, 16, dtype});
      DeviceTensor x(ops, random_floats(16 * 32, 1), 16), out(ops, std::vector<float>(16 * 32), 16);
      const std::vector<TokenId> ids(16);
      const std::vector<PageId> first{4}, second{1};
      const BatchSlice written{0, 16, 0, first}, read{0, 16, 0, second};
      ops.write_kv(*cache, 2, x.view, x.view, {ids, {}, {&written, 1}});
      ops.copy_pages(*cache, first, second);
      ops.attend(out.view, x.view, *cache, 2, {ids, {}, {&read, 1}}, heads, {0.25f, 0});
      return out.take();
    };
    expect_close(copied, 6e-6, std::string("copy_pages, ") + std::string(name_of(dtype)));
  }
}

TEST_F(CudaOps, ASumOverRanksHasTheBitsOfTheTree) {
  // 300 roots: more additions than one launch takes.
  for (const int roots : {1, 2, 7, 300}) {
    const std::int64_t elements = 301;
    const std::vector<float> values = random_floats(roots * elements, 3);
    std::vector<TreeRoot> leaves;
    std::vector<const float*> planes;
    for (int r = 0; r < roots; ++r) {
      leaves.push_back({0, r});
      planes.push_back(values.data() + r * elements);
    }
    const std::vector<TreeAddition> additions = additions_above(leaves);
    std::vector<float> want(static_cast<std::size_t>(elements));
    evaluate_tree(additions, planes, want.data(), elements);
    const DeviceTensor mine(cuda, values, roots), out(cuda, std::vector<float>(want.size()), 1);
    tree_sum(cuda.stream(), out.view.row(0), mine.view.row(0), elements, elements, additions);
    EXPECT_EQ(bits_of(out.take()), bits_of(want)) << roots << " roots";
  }
}

TEST_F(CudaOps, NothingOfAStepIsNoWork) {
  DeviceTensor empty(cuda, {}, 0), weight(cuda, random_floats(16, 1), 1);
  const TensorView none = TensorView::matrix(empty.view.data, DType::kF32, 0, 16, 16);
  cuda.rms_norm(none, none, weight.vector(), 1e-5f);
  cuda.add(none, none, {}, 1.0f);
  const auto idle = RandomWeight(DType::kBF16, 0, LeafCut::whole(64, 16), 1).pack(cuda);
  DeviceTensor x(cuda, random_floats(64, 1), 1);
  cuda.linear(TensorView::matrix(empty.view.data, DType::kF32, 1, 0, 0), x.view, *idle, {});
  cuda.synchronize();
}

#ifndef LLM_TP_REAL_GPU
/// A head each of queries, keys and values.
void multiply_with_heads(CudaBackend& cuda, DType dtype, std::int32_t tokens) {
  const LeafCut cut = whole_cut(dtype, 64);
  const auto weight = RandomWeight(dtype, 24, cut, 1).pack(cuda);
  DeviceTensor x(cuda, random_floats(tokens * cut.columns, 1), tokens),
      qkv(cuda, std::vector<float>(static_cast<std::size_t>(tokens) * 24), tokens);
  const auto cache = cuda.make_kv_cache({1, 1, 8, 2, 16, DType::kF16});
  const std::vector<TokenId> ids(static_cast<std::size_t>(tokens));
  const std::vector<PageId> pages{0};
  const BatchSlice slice{0, tokens, 0, pages};
  cuda.linear_heads(qkv.view, x.view, *weight, {}, {{0, 1}, {0, 1}, 1, 8}, {}, *cache, 0,
                    {ids, {}, {&slice, 1}});
  cuda.synchronize();
}

TEST_F(CudaOps, EveryInstantiationOfEveryKernelOfTheSourcesIsLaunched) {
  // All ops of all kinds, so that this test stands alone.
  CudaBackend fast(0, 1, ManyTokensAs::kBf16);
  for (const DType dtype : kWeightTypes)
    for (const std::int64_t tokens : {1, 2, 9, 20})
      for (DeviceBackend* ops : {&cuda, &fast}) product(*ops, {dtype, 16, whole_cut(dtype, 64), 1}, tokens);
  for (const DType dtype : kWeightTypes)
    for (const std::int32_t tokens : {1, 2, 9}) multiply_with_heads(cuda, dtype, tokens);
  DeviceTensor room(cuda, std::vector<float>(16 * 256 / 2), 16), numbers(cuda, std::vector<float>(256), 1);
  const std::vector<TokenId> tokens{0};
  for (const DType dtype : kWeightTypes) {
    const std::int64_t columns = whole_cut(dtype, 64).columns;
    const Bf16Matrix unpacked{reinterpret_cast<std::uint16_t*>(room.view.data), columns, 16, columns};
    const auto weight = RandomWeight(dtype, 16, whole_cut(dtype, 64), 1).pack(cuda);
    const DeviceWeight& device = static_cast<const CudaPackedWeight&>(*weight).device();
    cuda.embed(TensorView::matrix(numbers.view.row(0), 1, columns), tokens, *weight, {0, 16});
    unpack_tiles(cuda.stream(), unpacked, device, 0);
    round_rows(cuda.stream(), unpacked, {numbers.view.row(0), columns, 1, columns}, device);
    cuda.synchronize();
  }
  for (const DType dtype : kWeightTypes) MixtureCase{.dtype = dtype}.run(cuda, false);
  for (const int head_dim : {16, 32, 64, 128, 256})
    for (const DType dtype : kCacheTypes) {
      AttentionCase c;
      c.heads = {{0, 1}, {0, 1}, 1, head_dim};
      c.dtype = dtype;
      // More rows than 16, then one. More than one chunk of keys: they are merged.
      c.tokens = head_dim == 16 ? 300 : 18;
      c.run(cuda, c.tokens - 1);
    }
  for (const auto& op : small_ops()) op.run(cuda);
  cuda.score_reader()->read(DeviceTensor(cuda, std::vector<float>(16), 1).view, {0, 16}, 16,
                            std::vector<RowQuestion>(1));
  DeviceTensor row(cuda, std::vector<float>(32), 1);
  DeviceTensor h(cuda, std::vector<float>(32), 1), normed(cuda, std::vector<float>(32), 1);
  cuda.add_norm({normed.view, h.view, {}, 1.0f, h.vector(), 1e-5f}, row.view);
  const auto cache = cuda.make_kv_cache({1, 1, 8, 2, 16, DType::kF16});
  const std::vector<PageId> first{0}, second{1};
  cuda.copy_pages(*cache, first, second);
  tree_sum(cuda.stream(), row.vector().row(0), row.vector().row(0), 32, 32, {});
  const DeviceRows few{h.view.row(0), 32, 1, 30};
  const DeviceResidualNorm norm{
      {normed.view.row(0), 32, 1, 32}, {h.view.row(0), 32, 1, 32}, nullptr, 1.0f, row.view.row(0), 1e-5f};
  const DeviceResidualNorm norm_of_few{few, few, nullptr, 1.0f, row.view.row(0), 1e-5f};
  tree_add_norm(cuda.stream(), norm, row.vector().row(0), 32, {});
  cuda.synchronize();
  const VirtualRanks alone(cuda, 1);
  const PeerTree tree = peer_tree_of(TreeParts({{0, 1}}), 0);
  DeviceTensor sum(cuda, std::vector<float>(32), 1);
  for (const auto by : {peer_sum_whole, peer_sum_slices})
    for (const std::int64_t elements : {1, 4})
      by(alone.stream(0), alone.group(0), tree, sum.view.row(0), row.view.row(0), elements, elements);
  for (const auto& of : {norm, norm_of_few})
    peer_add_norm(alone.stream(0), alone.group(0), tree, of, row.view.row(0));
  const DeviceRows rows{sum.view.row(0), 32, 1, 32};
  DeviceTensor owner(cuda, std::vector<float>(1), 1);  // rank 0
  cuda.synchronize();
  peer_rows(alone.stream(0), alone.group(0), rows, rows,
            reinterpret_cast<const std::int32_t*>(owner.view.data), 0, 32);
  alone.wait();
  const std::set<std::string> written =
      emulator::kernels_of_sources(std::string(LLM_TP_SOURCE_DIR) + "/kernels/cuda");
  EXPECT_GT(written.size(), 10u);
  std::set<std::string> compiled;
  for (const auto& [name, address] : emulator::kernels_of_program(written)) {
    compiled.insert(name.substr(0, name.find('<')));
    EXPECT_EQ(emulator::launched_kernels().count(address), 1u) << name << " was not launched";
  }
  EXPECT_EQ(compiled, written);
}

TEST_F(CudaOps, TheOrderOfThreadsDoesNotChangeABit) {
  AttentionCase c;
  const RandomWeight weight(DType::kF16, 24, LeafCut::whole(512, 16), 9);
  const auto all = [&] {
    std::vector<std::uint32_t> bits = bits_of(c.run(cuda));
    const auto mixed = bits_of(MixtureCase{}.run(cuda, false));
    bits.insert(bits.end(), mixed.begin(), mixed.end());
    for (const std::int64_t tokens : {2, 18}) {
      const auto more = bits_of(product(cuda, weight, tokens));
      bits.insert(bits.end(), more.begin(), more.end());
    }
    return bits;
  };
  const auto ascending = all();
  emulator::set_thread_order(emulator::ThreadOrder::kDescending);
  EXPECT_EQ(all(), ascending);
  emulator::set_thread_order(emulator::ThreadOrder::kRandom, 17);
  EXPECT_EQ(all(), ascending);
  emulator::set_thread_order(emulator::ThreadOrder::kAscending);
}
#endif

}  // namespace
}  // namespace llm_tp::testing

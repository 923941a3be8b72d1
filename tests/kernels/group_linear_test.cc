// Linear layers over the layouts of kernels/cpu/group_layout.h against their arithmetic in scalars, to the
// bit.
#include <gtest/gtest.h>

#include <array>

#include "base/blocks/block.h"
#include "linear_case.h"
#include "tests/support/random_blocks.h"

namespace llm_tp::testing {
namespace {

constexpr DType kGrouped[] = {DType::kQ5_0,       DType::kQ5_1,    DType::kQ2K,     DType::kQ3K,
                              DType::kQ4K,        DType::kQ5K,     DType::kQ6K,     DType::kIQ4NL,
                              DType::kIQ4XS,      DType::kMXFP4,   DType::kInt4G32, DType::kInt4G64,
                              DType::kInt4G128,   DType::kInt8G32, DType::kInt8G64, DType::kInt8G128,
                              DType::kFp8G32,     DType::kFp8G64,  DType::kFp8G128, DType::kInt4Columns,
                              DType::kInt8Columns};
constexpr std::int64_t kColumns = 512, kRows = 19;  // no whole panel at the end
constexpr int kColumnGroups = 5;

/// Random blocks whose factors are ordinary numbers.
struct GroupedCase {
  DType dtype;
  std::vector<std::byte> weights;  // [kRows] in file layout
  std::vector<std::uint16_t> group_of;

  explicit GroupedCase(DType type) : dtype(type) {
    std::mt19937 random(static_cast<unsigned>(type) + 1);
    weights = random_blocks(type, kRows * kColumns, random);
    for (std::int64_t k = 0; k < kColumns; ++k)
      group_of.push_back(static_cast<std::uint16_t>(random() % kColumnGroups));
    if (has_column_scales(type)) share_factors(random);
  }

  Block block(std::int64_t row, std::int64_t column) const {
    Block result;
    take_apart(dtype, weights.data() + row * row_bytes(dtype, kColumns) + row_bytes(dtype, column), result);
    return result;
  }
  std::vector<float> row(std::int64_t r) const {
    std::vector<float> w(kColumns);
    for (std::int64_t k = 0; k < kColumns; k += block_elements(dtype))
      widen(dtype, block(r, k), w.data() + k);
    return w;
  }
  std::unique_ptr<PackedWeight> pack(CpuBackend& backend, const LeafCut& cut) const {
    WeightSpec spec{dtype, kRows, cut, {0, cut.leaves}};
    if (has_column_scales(dtype))
      spec.column_groups = std::make_shared<ColumnGroupsOfRank>(ColumnGroupsOfRank{group_of, kColumnGroups});
    const auto stored = static_cast<std::size_t>(row_bytes(dtype, kColumns));
    const auto packed = backend.packed_bytes(spec);
    EXPECT_GT(packed, 0);
    return backend.pack(spec, [&](Range rows, std::byte* out) {
      std::memcpy(out, weights.data() + static_cast<std::size_t>(rows.begin) * stored,
                  static_cast<std::size_t>(rows.size()) * stored);
    });
  }

 private:
  void share_factors(std::mt19937& random) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      std::vector<std::array<std::byte, 256>> groups(kColumnGroups);
      for (int g = 0; g < kColumnGroups; ++g)
        set_factors(dtype, groups[static_cast<std::size_t>(g)].data(), random);
      for (std::int64_t k = 0; k < kColumns; ++k)
        std::memcpy(weights.data() + (r * kColumns + k) * 7,
                    groups[group_of[static_cast<std::size_t>(k)]].data(), 6);
    }
  }
};

/// One leaf as kernels/cpu/linear.h states it.
float leaf(const GroupedCase& c, std::int64_t row, const float* x, Range columns,
           ActivationKind activations) {
  float sum = 0;
  if (activations == ActivationKind::kF32 || has_column_scales(c.dtype) || is_fp8(c.dtype)) {
    const std::vector<float> w = c.row(row);
    for (std::int64_t k = columns.begin; k < columns.end; ++k)
      sum = std::fma(w[static_cast<std::size_t>(k)], x[k], sum);
    return sum;
  }
  for (std::int64_t first = columns.begin; first < columns.end; first += 32) {
    const std::int64_t elements = block_elements(c.dtype);
    const Block block = c.block(row, first / elements * elements);
    float largest = 0;
    for (std::int64_t k = first; k < first + 32; ++k) largest = std::max(largest, std::fabs(x[k]));
    const float dx = largest / 127.0f, inverse = 127.0f / largest;
    std::int64_t products = 0, minima = 0;
    for (std::int64_t k = first; k < first + 32; ++k) {
      const auto i = static_cast<std::size_t>(k % elements), run = i / static_cast<std::size_t>(block.run);
      const auto xq = static_cast<std::int64_t>(std::nearbyint(x[k] * inverse));
      products += block.scale[run] * (block.code[i] + block.offset) * xq;
      minima += block.minimum[run] * xq;
    }
    EXPECT_LT(std::abs(products), 1 << 24);
    sum = std::fma(static_cast<float>(products), block.d * dx, sum);
    if (block.has_minima) sum = std::fma(static_cast<float>(minima), -block.dmin * dx, sum);
  }
  return sum;
}

TEST(GroupLinear, EveryLayoutGivesTheBitsOfTheScalarArithmetic) {
  const LeafCut cut{kColumns, 256, 2};
  const std::vector<float> x = random_floats(19 * kColumns, 3, 4.0f);
  for (const DType dtype : kGrouped) {
    const GroupedCase c(dtype);
    for (const ActivationKind activations : {ActivationKind::kInt8, ActivationKind::kF32}) {
      std::vector<float> expected;
      for (std::int64_t t = 0; t < 19; ++t)
        for (std::int64_t n = 0; n < kRows; ++n)
          expected.push_back(leaf(c, n, x.data() + t * kColumns, {0, 256}, activations) +
                             leaf(c, n, x.data() + t * kColumns, {256, 512}, activations));
      on_every_instruction_set([&](InstructionSet set) {
        CpuBackend backend({.threads = 2, .activations = activations, .oversubscribed = true});
        const auto packed = c.pack(backend, cut);
        for (const std::int64_t tokens : {1, 2, 3, 5, 19}) {
          std::vector<float> out(static_cast<std::size_t>(tokens * kRows), -1.0f);
          backend.linear_roots(TensorView::matrix(out.data(), tokens, kRows),
                               TensorView::matrix(const_cast<float*>(x.data()), tokens, kColumns), *packed);
          ASSERT_EQ(bits_of(out), bits_of({expected.begin(), expected.begin() + tokens * kRows}))
              << name_of(set) << " " << name_of(dtype) << ", " << tokens << " rows, int8 "
              << (activations == ActivationKind::kInt8);
        }
      });
    }
  }
}

TEST(GroupLinear, EmbeddingRowsAreTheWidenedWeights) {
  CpuBackend backend = cpu(1);
  for (const DType dtype : kGrouped) {
    const GroupedCase c(dtype);
    const auto packed = c.pack(backend, {kColumns, 256, 2});
    std::vector<float> out(kColumns);
    for (TokenId token = 0; token < kRows; ++token) {
      const TokenId tokens[] = {token};
      backend.embed(TensorView::matrix(out.data(), 1, kColumns), tokens, *packed, {0, kRows});
      const std::vector<float> expected = c.row(token);
      for (std::size_t k = 0; k < out.size(); ++k)
        ASSERT_EQ(out[k], expected[k]) << name_of(dtype) << " " << k;
    }
  }
}

}  // namespace
}  // namespace llm_tp::testing

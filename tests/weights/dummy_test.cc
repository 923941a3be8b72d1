#include "weights/dummy.h"

#include <cmath>
#include <tuple>

#include "test_files.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

/// The tensors of two layers, without biases of the output and the MLP.
std::vector<DummyTensor> small(std::int64_t hidden = 64) {
  std::vector<DummyTensor> tensors{{{WeightRole::kEmbedding}, 200, hidden},
                                   {{WeightRole::kFinalNorm}, 1, hidden},
                                   {{WeightRole::kLmHead}, 200, hidden}};
  for (int layer = 0; layer < 2; ++layer)
    for (const auto& [role, rows, columns] : std::initializer_list<std::tuple<WeightRole, int, std::int64_t>>{
             {WeightRole::kAttentionNorm, 1, hidden},
             {WeightRole::kMlpNorm, 1, hidden},
             {WeightRole::kQuery, 96, hidden},
             {WeightRole::kKey, 32, hidden},
             {WeightRole::kValue, 32, hidden},
             {WeightRole::kOutput, static_cast<int>(hidden), 96},
             {WeightRole::kQueryBias, 1, 96},
             {WeightRole::kGate, 160, hidden},
             {WeightRole::kUp, 160, hidden},
             {WeightRole::kDown, static_cast<int>(hidden), 160}})
      tensors.push_back({{role, layer}, rows, columns});
  return tensors;
}

TEST(DummyWeights, AnySliceIsThatPartOfTheWhole) {
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    const DummySource source(small(), dtype);
    for (const WeightRole role : {WeightRole::kEmbedding, WeightRole::kQuery, WeightRole::kDown,
                                  WeightRole::kQueryBias, WeightRole::kMlpNorm})
      expect_slices_of_whole(source, {role, role == WeightRole::kEmbedding ? 0 : 1});
  }
}

TEST(DummyWeights, NumbersHaveTheWidthOfTheirRowsAndNormsAreOne) {
  const DummySource source(small(1024), DType::kF32);
  double sum = 0, squares = 0;
  const std::vector<float> numbers = as_floats(source, {WeightRole::kEmbedding});
  for (const float number : numbers) {
    sum += number;
    squares += double{number} * number;
    ASSERT_LE(std::fabs(number), std::sqrt(3.0 / 1024));
  }
  const auto count = static_cast<double>(numbers.size());
  EXPECT_NEAR(sum / count * 32, 0.0, 0.01);  // in standard deviations, 1 / sqrt(1024)
  EXPECT_NEAR(std::sqrt(squares / count) * 32, 1.0, 0.01);
  for (const float one : as_floats(source, {WeightRole::kAttentionNorm, 1})) ASSERT_EQ(one, 1.0f);
}

TEST(DummyWeights, SeedRoleLayerAndPlaceAllMatter) {
  const DummySource source(small(), DType::kF32, 7);
  const auto query = as_floats(source, {WeightRole::kQuery, 0});
  EXPECT_EQ(query, as_floats(DummySource(small(), DType::kF32, 7), {WeightRole::kQuery, 0}));
  EXPECT_NE(query, as_floats(DummySource(small(), DType::kF32, 8), {WeightRole::kQuery, 0}));
  EXPECT_NE(query, as_floats(source, {WeightRole::kQuery, 1}));
  EXPECT_NE(as_floats(source, {WeightRole::kKey, 0}), as_floats(source, {WeightRole::kValue, 0}));
  EXPECT_NE(std::vector<float>(query.begin(), query.begin() + 64),
            std::vector<float>(query.begin() + 64, query.begin() + 128));
}

TEST(DummyWeights, BlocksAreTheRoundedNumbersOfF32) {
  const DummySource plain(small(), DType::kF32), blocks(small(), DType::kQ4_0);
  const auto numbers = read_whole(plain, {WeightRole::kUp, 1});
  std::vector<std::byte> expected(160 * static_cast<std::size_t>(row_bytes(DType::kQ4_0, 64)));
  convert_row(DType::kF32, numbers.data(), DType::kQ4_0, expected.data(), 160 * 64);
  EXPECT_EQ(read_whole(blocks, {WeightRole::kUp, 1}), expected);
  EXPECT_EQ(blocks.find({WeightRole::kMlpNorm, 0})->dtype, DType::kF32);
}

TEST(DummyWeights, OnlyTheTensorsOfTheShapeExistAndAreCounted) {
  const DummySource source(small(), DType::kBF16);
  EXPECT_FALSE(source.find({WeightRole::kOutputBias, 0}).has_value());
  EXPECT_FALSE(source.find({WeightRole::kQuery, 2}).has_value());
  EXPECT_FALSE(source.find({WeightRole::kQuery, -1}).has_value());
  std::int64_t parameters = 0;
  for (const WeightKey key : keys_of(2))
    if (const auto info = source.find(key)) parameters += info->rows * info->columns;
  EXPECT_EQ(source.parameters(), parameters);
  EXPECT_EQ(source.file_bytes(), 2 * parameters);
}

TEST(DummyWeights, RefusesRowsThatAreNoWholeBlocks) {
  expect_error(ExitCode::kConfig, {"150", "32", "q8_0"}, [] {
    DummySource source({{{WeightRole::kDown, 0}, 64, 150}}, DType::kQ8_0);
  });
  expect_error(ExitCode::kConfig, {"extent of 0"}, [] {
    DummySource source({{{WeightRole::kDown, 0}, 64, 0}}, DType::kQ8_0);
  });
}

}  // namespace
}  // namespace llm_tp

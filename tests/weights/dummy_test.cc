#include "weights/dummy.h"

#include <cmath>

#include "test_files.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

DummyShape small(DType dtype) {
  return {.hidden = 64,
          .layers = 2,
          .query_rows = 96,
          .kv_rows = 32,
          .mlp_columns = 160,
          .vocabulary = 200,
          .qkv_biases = true,
          .dtype = dtype,
          .seed = 7};
}

TEST(DummyWeights, AnySliceIsThatPartOfTheWhole) {
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    const DummySource source(small(dtype));
    for (const WeightRole role : {WeightRole::kEmbedding, WeightRole::kQuery, WeightRole::kDown,
                                  WeightRole::kQueryBias, WeightRole::kMlpNorm})
      expect_slices_of_whole(source, {role, role == WeightRole::kEmbedding ? 0 : 1});
  }
}

TEST(DummyWeights, NumbersHaveTheWidthOfTheirRowsAndNormsAreOne) {
  DummyShape shape = small(DType::kF32);
  shape.hidden = 1024;
  const DummySource source(shape);
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
  const DummySource source(small(DType::kF32));
  DummyShape other = small(DType::kF32);
  other.seed = 8;
  const auto query = as_floats(source, {WeightRole::kQuery, 0});
  EXPECT_EQ(query, as_floats(DummySource(small(DType::kF32)), {WeightRole::kQuery, 0}));
  EXPECT_NE(query, as_floats(DummySource(other), {WeightRole::kQuery, 0}));
  EXPECT_NE(query, as_floats(source, {WeightRole::kQuery, 1}));
  EXPECT_NE(as_floats(source, {WeightRole::kKey, 0}), as_floats(source, {WeightRole::kValue, 0}));
  EXPECT_NE(std::vector<float>(query.begin(), query.begin() + 64),
            std::vector<float>(query.begin() + 64, query.begin() + 128));
}

TEST(DummyWeights, BlocksAreTheRoundedNumbersOfF32) {
  const DummySource plain(small(DType::kF32)), blocks(small(DType::kQ4_0));
  const auto numbers = read_whole(plain, {WeightRole::kUp, 1});
  std::vector<std::byte> expected(160 * static_cast<std::size_t>(row_bytes(DType::kQ4_0, 64)));
  convert_row(DType::kF32, numbers.data(), DType::kQ4_0, expected.data(), 160 * 64);
  EXPECT_EQ(read_whole(blocks, {WeightRole::kUp, 1}), expected);
  EXPECT_EQ(blocks.find({WeightRole::kMlpNorm, 0})->dtype, DType::kF32);
}

TEST(DummyWeights, OnlyTheTensorsOfTheShapeExistAndAreCounted) {
  DummyShape shape = small(DType::kBF16);
  shape.tied = true;
  const DummySource source(shape);
  EXPECT_FALSE(source.find({WeightRole::kLmHead}).has_value());
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
  DummyShape shape = small(DType::kQ8_0);
  shape.mlp_columns = 150;
  expect_error(ExitCode::kConfig, {"150", "32", "q8_0"}, [&] { DummySource source(shape); });
  shape.mlp_columns = 0;
  expect_error(ExitCode::kConfig, {"extent of 0"}, [&] { DummySource source(shape); });
}

}  // namespace
}  // namespace llm_tp

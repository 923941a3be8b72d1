#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "model/decoder.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"
#include "weights/gguf.h"
#include "weights/gguf_source.h"

namespace llm_tp {
namespace {

TEST(PlanMemory, IsTheSumOfWhatEveryRankAllocates) {
  const auto file = GgufFile::open(load_golden_gguf("Q8_0").model);
  const ModelShape shape = ModelShape::from_gguf(*file);
  const GgufSource source(file, shape.interleaved_heads);
  const WeightLoader loader(shape, source, std::nullopt);
  CpuBackend ops{CpuOptions{}};
  for (const int world : {1, 2, 3, 7}) {
    const ShardPlan plan = ShardPlan::make(shape, world, loader.units());
    for (const DType kv_dtype : {DType::kF32, DType::kF16, DType::kInt8, DType::kE4M3}) {
      const auto memory = plan_memory(shape, loader, plan, ops, kv_dtype, 100);
      ASSERT_EQ(memory.size(), static_cast<std::size_t>(world));
      for (int rank = 0; rank < world; ++rank) {
        const auto r = static_cast<std::size_t>(rank);
        EXPECT_EQ(memory[r].weights, loader.sizes(plan, rank, ops).weights);
        EXPECT_EQ(memory[r].workspace, Decoder::workspace_bytes(shape, plan, rank, 100));
        for (const int page_tokens : {16, 48})
          EXPECT_EQ(memory[r].kv_per_token_of_all() * 5 * page_tokens,
                    ops.kv_bytes(kv_shape_of(shape, plan.ranks[r], kv_dtype, kv_groups_of(shape).front(), 5,
                                             page_tokens)));
      }
    }
  }
}

TEST(PlanMemory, ARankWithoutHeadsHoldsNoCache) {
  const auto file = GgufFile::open(load_golden_gguf("BF16").model);
  const ModelShape shape = ModelShape::from_gguf(*file);
  const GgufSource source(file, shape.interleaved_heads);
  const WeightLoader loader(shape, source, std::nullopt);
  const int world = static_cast<int>(shape.query_heads) + 1;
  const auto memory = plan_memory(shape, loader, ShardPlan::make(shape, world, loader.units()),
                                  CpuBackend(CpuOptions{}), DType::kF16, 1);
  EXPECT_EQ(memory.front().kv_per_token_of_all(), 0);
  EXPECT_GT(memory.back().kv_per_token_of_all(), 0);
}

TEST(PlanMemory, WindowedLayersHoldAWindowOfASequence) {
  ModelShape shape = ModelShape::from_config(golden_folder() + "/models/gemma2/config.json");
  const std::vector<KvGroup> groups = kv_groups_of(shape);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].window, 0);
  EXPECT_EQ(groups[1].window, 12);
  EXPECT_EQ(groups[0].layers + groups[1].layers, shape.layers);
  const std::vector<CacheLimits> caches = plan_caches(shape, 100000, 4, 32, 16);
  EXPECT_EQ(caches[0].pages, 100000 / 16 + 4);
  EXPECT_EQ(caches[0].lookback, 0);
  EXPECT_EQ(caches[1].lookback, 11 + kDeepestCut);
  EXPECT_EQ(caches[1].pages, 4 * ((11 + 64 + 32 + 14) / 16 + 1));
  // A window that no text fills is none; places count up within their group.
  shape.context = 12;
  EXPECT_EQ(kv_groups_of(shape).size(), 1U);
  for (std::int64_t i = 0; i < shape.layers; ++i) EXPECT_EQ(kv_place_of(shape, i).layer, i);
  shape.context = 8192;
  std::vector<int> next(2);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const KvPlace place = kv_place_of(shape, i);
    EXPECT_EQ(groups[static_cast<std::size_t>(place.group)].window, shape.layer(i).window);
    EXPECT_EQ(place.layer, next[static_cast<std::size_t>(place.group)]++);
  }
  const RankMemory memory{0, 0, {100, 10}, {}, {}};
  EXPECT_EQ(memory.kv(caches, 16), 16 * (100 * caches[0].pages + 10 * caches[1].pages));
}

TEST(CheckMemory, RefusesWithTheRankTheSumsAndTheKnobs) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  PlannedMemory mine{3 * kGiB, kGiB, kGiB / 2, {}};
  expect_error(
      ExitCode::kOutOfMemory,
      {"rank 5", "4.50 GiB", "weights 3.00 GiB", "KV cache 1.00 GiB", "workspace 512.00 MiB",
       "the ranks of this host need 9.00 GiB and it has 8.00 GiB", "--max-context", "--kv-dtype", "--dtype"},
      [&] { check_memory(5, mine, 9 * kGiB, 8 * kGiB, false); });
  expect_error(ExitCode::kOutOfMemory, {"8.00 GiB; of 900 positions 70 fit, or use more ranks"},
               [&] { check_memory(5, mine, 9 * kGiB, 8 * kGiB, false, "of 900 positions 70 fit"); });
  EXPECT_NO_THROW(check_memory(5, mine, 8 * kGiB, 8 * kGiB, false));
  mine.own = {kGiB / 4, kGiB};
  expect_error(ExitCode::kOutOfMemory,
               {"rank 5 needs 4.75 GiB", "ops and sums 256.00 MiB",
                "its GPU has to give 4.50 GiB of them and has 4.00 GiB"},
               [&] { check_memory(5, mine, 4 * kGiB + kGiB / 2, 4 * kGiB, true); });
}

TEST(AvailableMemory, IsMoreThanNothing) { EXPECT_GT(available_memory(), 1 << 20); }

TEST(MemoryText, HasTwoDigitsAndTheLargestUnit) {
  EXPECT_EQ(memory_text(0), "0 B");
  EXPECT_EQ(memory_text(1023), "1023 B");
  EXPECT_EQ(memory_text(1536), "1.50 KiB");
  EXPECT_EQ(memory_text(std::int64_t{5} << 40), "5.00 TiB");
}

}  // namespace
}  // namespace llm_tp

// Steps of a whole decoder on the CUDA backend, emulated or on a GPU: replayed from graphs they have the bits
// that they have when every kernel is launched, and after warm-up no memory is taken.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "comm/null_communicator.h"
#include "device_tensor.h"
#include "kernels/cuda/cuda_backend.h"
#include "model/decoder.h"
#include "model/weight_loader.h"
#include "weights/dummy.h"

namespace llm_tp::testing {
namespace {

constexpr std::int64_t kMostRows = 30, kPositions = 600;
constexpr int kPageTokens = 16, kSequences = 9;
constexpr int kPagesOfSequence = static_cast<int>(kPositions) / kPageTokens;

/// A small model on the device. Caches are of zeros, so sequences may begin anywhere.
class Model {
 public:
  explicit Model(bool graphs, const nlohmann::json& config = dense())
      : ops(0, 1, ManyTokensAs::kF32, graphs),
        shape_(ModelShape::from_config(config, "a small model")),
        source_(tensors_of_dummy(shape_), DType::kF32),
        loader_(shape_, source_, std::nullopt),
        plan_(ShardPlan::make(shape_, 1, loader_.units())) {
    decoder_.emplace(shape_, plan_, 0, loader_.load(plan_, 0, ops, [](std::int64_t, std::int64_t) {}), ops,
                     ranks_, kMostRows);
    cache_ = ops.make_kv_cache({static_cast<int>(shape_.layers), static_cast<int>(shape_.kv_heads),
                                static_cast<int>(shape_.head_dim), kSequences * kPagesOfSequence, kPageTokens,
                                DType::kF16});
  }
  void reserve() {
    KvCache* const cache = cache_.get();
    decoder_->reserve({&cache, 1}, kSequences, kPositions);
  }

  struct Piece {
    int sequence;
    std::int32_t first_position, rows;
  };
  /// The bits of the logits of each piece's last row.
  std::vector<std::uint32_t> step(const std::vector<Piece>& pieces) {
    std::vector<TokenId> tokens;
    std::vector<std::int32_t> positions, last_rows;
    std::vector<std::vector<PageId>> pages;
    std::vector<BatchSlice> slices;
    for (const Piece& piece : pieces) {
      pages.emplace_back(static_cast<std::size_t>((piece.first_position + piece.rows - 1) / kPageTokens + 1));
      std::iota(pages.back().begin(), pages.back().end(), piece.sequence * kPagesOfSequence);
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      slices.push_back(
          {static_cast<std::int32_t>(tokens.size()), piece.rows, piece.first_position, pages[i]});
      for (std::int32_t r = 0; r < piece.rows; ++r) {
        tokens.push_back((piece.sequence * 31 + (piece.first_position + r) * 7) % 32);
        positions.push_back(piece.first_position + r);
      }
      last_rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
    }
    const KvStep kv{cache_.get(), {tokens, positions, slices}};
    decoder_->forward({&kv, 1});
    const TensorView logits = decoder_->logits(last_rows);
    return bits_of(std::vector<float>(logits.row(0), logits.row(0) + logits.rows() * logits.columns()));
  }

  CudaBackend ops;

  static nlohmann::json dense() {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_size", 32},
            {"intermediate_size", 32},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 3},
            {"num_key_value_heads", 1},
            {"head_dim", 16},
            {"vocab_size", 32},
            {"max_position_embeddings", 1024},
            {"rms_norm_eps", 1e-5},
            {"tie_word_embeddings", true}};
  }
  /// Steps of up to 20 rows are routed on the device: 16 an expert, on average.
  static nlohmann::json mixture() {
    nlohmann::json config = dense();
    config["architectures"] = {"Qwen2MoeForCausalLM"};
    config["model_type"] = "qwen2_moe";
    config["num_experts"] = 5;
    config["num_experts_per_tok"] = 4;
    config["moe_intermediate_size"] = 20;
    config["shared_expert_intermediate_size"] = 12;
    config["norm_topk_prob"] = false;
    return config;
  }

 private:
  static std::vector<DummyTensor> tensors_of_dummy(const ModelShape& shape) {
    std::vector<DummyTensor> tensors;
    for (const ModelTensor& tensor : tensors_of(shape))
      tensors.push_back({tensor.key, tensor.rows, tensor.columns});
    return tensors;
  }

  ModelShape shape_;
  DummySource source_;
  WeightLoader loader_;
  ShardPlan plan_;
  NullCommunicator ranks_{1, &ops};
  std::optional<Decoder> decoder_;
  std::unique_ptr<KvCache> cache_;
};

using Steps = std::vector<std::vector<Model::Piece>>;

/// Sequences that begin, go on over the end of a chunk of attention's keys, pause, and guess tokens ahead.
Steps few_steps() {
  Steps steps;
  for (std::int32_t i = 0; i < 5; ++i) steps.push_back({{0, 253 + i, 1}, {1, 511 + i, 1}});
  for (std::int32_t i = 0; i < 3; ++i) steps.push_back({{1, 516 + i, 1}});
  steps.push_back({{0, 258, 1}, {2, 0, 20}});
  for (std::int32_t i = 0; i < 3; ++i) steps.push_back({{0, 259 + i, 1}, {1, 519 + i, 1}, {2, 20 + i, 1}});
  for (std::int32_t i = 0; i < 3; ++i) steps.push_back({{0, 262 + 3 * i, 3}});
  for (std::int32_t i = 0; i < 2; ++i) steps.push_back({{1, 522 + i, 1}, {2, 23 + i, 1}});
  return steps;
}

Steps mixed_steps() {
  Steps steps = few_steps();
  // As many rows, slices and blocks, but partials of more rows.
  for (std::int32_t i = 0; i < 3; ++i) steps.push_back({{0, 271 + 2 * i, 2}, {1, 524 + 2 * i, 2}});
  for (std::int32_t i = 0; i < 2; ++i) steps.push_back({{0, 277 + i, 1}, {1, 530 + 3 * i, 3}});
  // As many rows, blocks and rows of partials: in blocks of at most 16 queries, and of more.
  for (std::int32_t i = 0; i < 2; ++i) {
    steps.emplace_back();
    for (int sequence = 3; sequence < 9; ++sequence) steps.back().push_back({sequence, 5 * i, 5});
  }
  for (std::int32_t i = 0; i < 2; ++i)
    steps.push_back(
        {{2, 100 + 22 * i, 22}, {3, 10 + 5 * i, 5}, {4, 10 + i, 1}, {5, 10 + i, 1}, {6, 10 + i, 1}});
  // As many blocks for other numbers of rows.
  for (const std::int32_t rows : {24, 22, 23}) steps.push_back({{2, 40 + rows, rows}});
  // As many blocks, rounded up, without and with chunks to merge.
  for (const std::int32_t first : {0, 1, 279, 280}) {
    steps.push_back({{0, first, 1}});
    for (int s = 1; s < kSequences; ++s) steps.back().push_back({s, 100, 1});
  }
  return steps;
}

void expect_the_bits_of_launched_steps(const nlohmann::json& config, const Steps& steps) {
  Model launched(false, config), replayed(true, config);
  for (std::size_t i = 0; i < steps.size(); ++i)
    EXPECT_EQ(replayed.step(steps[i]), launched.step(steps[i])) << "step " << i;
  const auto too_large = std::count_if(steps.begin(), steps.end(), [&](const auto& pieces) {
    std::int32_t rows = 0;
    for (const Model::Piece& piece : pieces) rows += piece.rows;
    return config.contains("num_experts") && rows > 20;
  });
  const GraphCache::Figures& figures = replayed.ops.graphs()->figures();
  EXPECT_EQ(figures.as_it_is + figures.replayed, std::ssize(steps) - too_large);
  EXPECT_GE(figures.replayed, 8);
  EXPECT_GE(figures.recorded, 4);
}

TEST(CudaGraphs, ReplayedStepsHaveTheBitsOfLaunchedOnes) {
  expect_the_bits_of_launched_steps(Model::dense(), mixed_steps());
}

TEST(CudaGraphs, ReplayedStepsOfMixturesHaveTheBitsOfLaunchedOnes) {
  expect_the_bits_of_launched_steps(Model::mixture(), few_steps());
}

void expect_no_memory_after_warm_up(const nlohmann::json& config, const Steps& steps) {
  Model model(true, config);
  model.reserve();
  model.step({{0, 0, 1}});
  const std::int64_t before = DeviceLog::of_this_thread().times_taken();
  for (const auto& step : steps) {
    model.step(step);
    ASSERT_EQ(DeviceLog::of_this_thread().times_taken(), before);
  }
  std::vector<Model::Piece> all;
  for (int s = 0; s < kSequences; ++s) all.push_back({s, 590, 2});
  model.step(all);
  EXPECT_EQ(DeviceLog::of_this_thread().times_taken(), before);
}

TEST(CudaGraphs, TakeNoMemoryAfterWarmUp) { expect_no_memory_after_warm_up(Model::dense(), mixed_steps()); }

TEST(CudaGraphs, OfMixturesTakeNoMemoryAfterWarmUp) {
  expect_no_memory_after_warm_up(Model::mixture(), few_steps());
}

/// A decoder's workspace stays, but that of ops grows with the first larger step.
TEST(CudaGraphs, AreRecordedAnewWhereMemoryMoved) {
  Model launched(false), replayed(true);
  const std::vector<std::vector<Model::Piece>> steps{
      {{0, 300, 1}}, {{0, 301, 1}}, {{0, 302, 1}}, {{0, 303, 1}, {1, 550, 20}}, {{0, 304, 1}}, {{0, 305, 1}}};
  for (const auto& step : steps) EXPECT_EQ(replayed.step(step), launched.step(step));
  EXPECT_EQ(replayed.ops.graphs()->figures().recorded, 2);
}

TEST(CudaGraphs, MemoryThatGrowsIsCounted) {
  CudaBackend ops(0, 1);
  StreamMemory memory(ops.stream());
  const std::int64_t before = DeviceLog::of_this_thread().times_taken();
  memory.reserve(8);
  memory.reserve(8);
  EXPECT_EQ(DeviceLog::of_this_thread().times_taken(), before + 1);
}

TEST(CudaGraphs, TheLeastRecentlyUsedIsDropped) {
  CudaBackend ops(0, 1);
  GraphCache graphs(ops.ops_stream(), 2);
  const DeviceTensor x(ops, {1.0f}, 1);
  const auto doubled = [&] { ops.scale(x.view, 2.0f); };
  for (const std::int64_t key : {1, 1, 2, 2, 1, 3, 2, 1}) graphs.run({key}, doubled);
  EXPECT_EQ(x.take(), std::vector<float>{256.0f});
  EXPECT_EQ(graphs.figures().recorded, 2);
  EXPECT_EQ(graphs.figures().as_it_is, 5);
}

TEST(CudaGraphs, OpsThatWaitOrSendAreErrorsWhileTheyAreRecorded) {
  CudaBackend ops(0, 1);
  GraphCache graphs(ops.ops_stream());
  const DeviceTensor x(ops, {1.0f, 2.0f}, 2);
  const std::vector<std::int32_t> rows{1};
  const DeviceTensor out(ops, {0.0f}, 1);
  const std::vector<std::function<void()>> bodies{
      [&] { ops.on_host(x.view); },
      [&, turn = 0]() mutable {
        const std::vector<std::int32_t> row{turn++};
        ops.gather_rows(out.view, x.view, row);
      },
  };
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    graphs.run({static_cast<std::int64_t>(i)}, bodies[i]);
    EXPECT_ANY_THROW(graphs.run({static_cast<std::int64_t>(i)}, bodies[i])) << i;
    EXPECT_EQ(x.take(), (std::vector<float>{1.0f, 2.0f}));  // the stream works as before
  }
}

}  // namespace
}  // namespace llm_tp::testing

// One arithmetic in a batch: what else runs in a step changes nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "model_runs.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

constexpr std::array<std::int64_t, 7> kLengths{1, 5, 17, 23, 40, 64, 70};
constexpr std::array<std::int32_t, 7> kChunks{1, 3, 8, 16, 7, 20, 33};
constexpr std::int32_t kDecoded = 4;  // the last tokens of each sequence run one a step

std::vector<Tokens> seven_sequences(std::int64_t vocabulary) {
  std::vector<Tokens> sequences;
  for (std::size_t s = 0; s < kLengths.size(); ++s)
    sequences.push_back(some_tokens(kLengths[s], vocabulary, static_cast<std::int64_t>(s)));
  return sequences;
}

/// Every step continues all sequences that are left, some by a chunk of their prompt, some by one token;
/// every other step in falling order.
std::vector<Step> all_at_once() {
  std::vector<Step> steps;
  std::array<std::int32_t, 7> done{};
  for (bool left = true; left;) {
    Step step;
    left = false;
    for (std::size_t s = 0; s < kLengths.size(); ++s) {
      const auto length = static_cast<std::int32_t>(kLengths[s]);
      if (done[s] == length) continue;
      const std::int32_t prompt = std::max(1, length - kDecoded);
      const std::int32_t rows = done[s] < prompt ? std::min(kChunks[s], prompt - done[s]) : 1;
      step.push_back({s, rows});
      done[s] += rows;
      left = true;
    }
    if (steps.size() % 2 == 1) std::reverse(step.begin(), step.end());
    if (left) steps.push_back(std::move(step));
  }
  return steps;
}

void expect_bits_of_alone(const std::string& model, RunSetup setup) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  const auto sequences = seven_sequences(checkpoint.shape.vocabulary);
  std::vector<Logits> alone;
  for (const Tokens& tokens : sequences) alone.push_back(run_alone(checkpoint, setup, tokens));
  for (const int world : {1, 3}) {
    setup.world = world;
    setup.threads = world == 1 ? 2 : 1;
    setup.scattered_pages = true;
    const std::vector<Logits> together = run_steps(checkpoint, setup, sequences, all_at_once());
    for (std::size_t s = 0; s < sequences.size(); ++s)
      EXPECT_EQ(together[s], alone[s]) << "sequence " << s << ", " << world << " ranks";
  }
}

TEST(BatchOfSeven, MixesPromptChunksAndDecodedRowsInEveryEarlyStep) {
  const std::vector<Step> steps = all_at_once();
  EXPECT_EQ(steps[0].size(), 7U);
  EXPECT_EQ(steps[1].size(), 6U);
  const auto decodes = [](const Piece& piece) { return piece.rows == 1; };
  EXPECT_TRUE(std::any_of(steps[1].begin(), steps[1].end(), decodes));
  EXPECT_FALSE(std::all_of(steps[1].begin(), steps[1].end(), decodes));
}

TEST(BatchOfSeven, EachSequenceHasTheBitsItHasAloneInBf16) {
  expect_bits_of_alone(golden_folder() + "/models/heads_9_3", {});
}

TEST(BatchOfSeven, EachSequenceHasTheBitsItHasAloneWithBiasesAndTiedWeights) {
  expect_bits_of_alone(golden_folder() + "/models/qwen2_tied", {});
}

TEST(BatchOfSeven, EachSequenceHasTheBitsItHasAloneWithQuantisedWeights) {
  for (const char* type : {"Q8_0", "Q4_0", "Q4_1"})
    for (const ActivationKind activations : {ActivationKind::kInt8, ActivationKind::kF32}) {
      RunSetup setup;
      setup.activations = activations;
      setup.kv_dtype = DType::kF16;
      expect_bits_of_alone(load_golden_gguf(type).model, setup);
    }
}

}  // namespace
}  // namespace llm_tp

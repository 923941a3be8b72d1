// Scores read on the device, emulated or a GPU: what the host's threads find, to the bit.
#include "kernels/score_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "engine/part_reader.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "model/shard_plan.h"
#ifndef LLM_TP_REAL_GPU
#include "emulator/block_runner.h"
#endif

namespace llm_tp::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect_same(const std::vector<Candidate>& got, const std::vector<Candidate>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].id, want[i].id) << "place " << i;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i].score), std::bit_cast<std::uint32_t>(want[i].score));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i].logit), std::bit_cast<std::uint32_t>(want[i].logit));
  }
}
void expect_same(const std::vector<ExpSum>& got, const std::vector<ExpSum>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].maximum, want[i].maximum) << "run " << i;  // -0 and 0 are the same
    ASSERT_EQ(std::bit_cast<std::uint64_t>(got[i].sum), std::bit_cast<std::uint64_t>(want[i].sum)) << i;
    ASSERT_EQ(std::bit_cast<std::uint64_t>(got[i].weighted), std::bit_cast<std::uint64_t>(want[i].weighted))
        << "run " << i;
  }
}
void expect_same(const RowCandidates& got, const RowCandidates& want) {
  expect_same(got.best, want.best);
  EXPECT_EQ(got.all, want.all);
  expect_same(got.top, want.top);
  expect_same(got.logit_sums, want.logit_sums);
  expect_same(got.score_sums, want.score_sums);
  expect_same({got.drawn, got.target}, {want.drawn, want.target});
  EXPECT_EQ(std::bit_cast<std::uint64_t>(got.drawn_key), std::bit_cast<std::uint64_t>(want.drawn_key));
  EXPECT_EQ(got.whole, want.whole);
}

/// A part of a vocabulary and rows of it.
struct Rows {
  std::int64_t vocabulary;
  Range part;
  std::vector<float> logits;
  std::vector<std::int32_t> numbers;

  /// spread: of the logits; steps: of the numbers they are rounded to, so that there are ties; 0: none.
  Rows(std::int64_t of, std::int64_t first_run, std::int64_t end_run, std::int32_t rows, unsigned seed,
       float spread, float steps)
      : vocabulary(of) {
    const std::int64_t run = vocabulary_unit(of);
    part = {std::min(of, first_run * run), std::min(of, end_run * run)};
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, spread);
    for (std::int32_t row = 0; row < rows; ++row) {
      numbers.push_back(2 * row);
      for (std::int64_t i = 0; i < part.size(); ++i)
        logits.push_back(steps > 0 ? std::round(normal(random) / steps) * steps : normal(random));
    }
  }
  TensorView view(float* at) const { return TensorView::matrix(at, std::ssize(numbers), part.size()); }
  float& logit(std::size_t row, TokenId id) {
    return logits[row * static_cast<std::size_t>(part.size()) + static_cast<std::size_t>(id - part.begin)];
  }
};

/// Counts what goes to the host.
class CountingBackend : public CudaBackend {
 public:
  using CudaBackend::CudaBackend;
  TensorView on_host(TensorView tensor) override {
    rows_on_host += tensor.rows();
    return CudaBackend::on_host(tensor);
  }
  std::int64_t rows_on_host = 0;
};

class ScoreReading : public ::testing::Test {
 protected:
  CountingBackend cuda{0, 1};
  CpuBackend cpu{{.threads = 1, .oversubscribed = true}};

  /// Both in as many rounds.
  void expect_as_the_host(Rows rows, const ScoreList& list, const std::vector<double>& normaliser,
                          int rounds) {
    const DeviceBuffer memory = cuda.allocate(rows.logits.size() * sizeof(float));
    cuda.upload(memory.data(), std::as_bytes(std::span(rows.logits)));
    PartReader on_host(cpu, rows.part, rows.vocabulary), on_device(cuda, rows.part, rows.vocabulary);
    const LogitRows of_host{rows.view(rows.logits.data()), rows.numbers},
        of_device{rows.view(memory.floats()), rows.numbers};
    const auto want_sums = on_host.sums(list.rows, of_host), got_sums = on_device.sums(list.rows, of_device);
    for (std::size_t i = 0; i < list.rows.size(); ++i) expect_same(got_sums[i], want_sums[i]);
    std::vector<std::uint32_t> open(list.rows.size());
    std::iota(open.begin(), open.end(), 0u);
    for (int round = 0; round < rounds; ++round) {
      const auto want = on_host.read(list, list.rows, open, normaliser, round, of_host);
      const auto got = on_device.read(list, list.rows, open, normaliser, round, of_device);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        SCOPED_TRACE(::testing::Message() << "round " << round << ", request " << i);
        expect_same(got[i], want[i]);
        if (HasFatalFailure()) return;
      }
    }
  }
  void expect_as_the_host(const Rows& rows, const ScoreList& list, int rounds = 1) {
    expect_as_the_host(rows, list, std::vector<double>(list.rows.size(), 2.7182818), rounds);
  }
};

/// One request of each kind for each row, in turn.
ScoreList requests_of_all_kinds(const Rows& rows, unsigned seed) {
  std::mt19937 random(seed);
  ScoreList list;
  const auto any_id = [&] { return static_cast<TokenId>(random() % static_cast<unsigned>(rows.vocabulary)); };
  const auto add = [&](auto change) {
    RowRequest request;
    request.row = rows.numbers[list.rows.size() % rows.numbers.size()];
    request.position = static_cast<std::int32_t>(random() % 1000);
    request.sampling.seed = random();
    request.best = static_cast<std::int32_t>(random() % 3) * 2;
    request.target = any_id();
    change(request);
    list.rows.push_back(request);
  };
  const auto adjust = [&](RowRequest& r, int count, bool forbid_all) {
    using Op = Adjustment::Op;
    r.first_adjustment = static_cast<std::int32_t>(list.adjustments.size());
    r.adjustments = count;
    const TokenId often = any_id();
    for (int i = 0; i < count; ++i) {
      const Op op = std::array{Op::kAdd, Op::kPenalise, Op::kSet, Op::kGrow}[random() % 4];
      const float value =
          op == Op::kSet && random() % 2 == 0 ? -kInfinity : 0.25f + static_cast<float>(random() % 32) / 8;
      list.adjustments.push_back({random() % 3 == 0 ? often : any_id(), op, value});
    }
    if (forbid_all && count > 0)
      list.adjustments[static_cast<std::size_t>(r.first_adjustment + count / 2)].op = Op::kForbidAll;
  };
  const auto mask = [&](RowRequest& r, MaskKind kind, int share) {
    r.mask = kind;
    r.first_mask_word = static_cast<std::int32_t>(list.mask_words.size());
    if (kind == MaskKind::kBits) {
      // It may end before the vocabulary does.
      for (std::int64_t w = 0; w < rows.vocabulary / 32; ++w)
        list.mask_words.push_back(static_cast<std::uint32_t>(random() & random()));
    } else {
      for (std::int64_t id = 0; id < rows.vocabulary; ++id)
        if (random() % static_cast<unsigned>(share) == 0)
          list.mask_words.push_back(static_cast<std::uint32_t>(id));
    }
    r.mask_words = static_cast<std::int32_t>(list.mask_words.size()) - r.first_mask_word;
  };
  add([](RowRequest&) {});
  add([&](RowRequest& r) { adjust(r, 200, false); });
  add([&](RowRequest& r) { adjust(r, 40, true); });
  add([](RowRequest& r) { r.sampling.temperature = 1, r.sampling.top_k = 1; });
  add([](RowRequest& r) { r.sampling.temperature = 0.7f, r.sampling.top_k = 40, r.best = 20; });
  add([](RowRequest& r) { r.sampling.temperature = 4, r.sampling.top_p = 0.99f; });
  add([](RowRequest& r) { r.sampling.temperature = 1, r.sampling.typical_p = 0.5f; });
  add([](RowRequest& r) { r.normalised = 1, r.candidates = 6; });
  add([](RowRequest& r) { r.candidates = 9; });
  add([&](RowRequest& r) { r.normalised = 1, r.sampling.temperature = 1, adjust(r, 60, false); });
  add([&](RowRequest& r) { mask(r, MaskKind::kBits, 0); });
  add([&](RowRequest& r) {
    r.sampling.temperature = 1, r.sampling.min_p = 0.1f, mask(r, MaskKind::kAllowed, 50);
  });
  add([&](RowRequest& r) { r.sampling.temperature = 0.5f, mask(r, MaskKind::kForbidden, 3); });
  add([&](RowRequest& r) { adjust(r, 400, false), mask(r, MaskKind::kAllowed, 1 << 20); });
  add([](RowRequest& r) { r.whole = WholeKind::kScores; });
  add([](RowRequest& r) { r.whole = WholeKind::kLogits; });
  for (const float temperature : {0.05f, 0.8f, 1.0f, 30.0f})
    add([&](RowRequest& r) { r.sampling.temperature = temperature; });
  std::stable_sort(list.rows.begin(), list.rows.end(),
                   [](const RowRequest& a, const RowRequest& b) { return a.row < b.row; });
  return list;
}

TEST_F(ScoreReading, FindsWhatTheHostFinds) {
  // Runs of 16, of 32, of 48; parts from the first run, from a later one, to the last, shorter one; of one.
  struct Case {
    std::int64_t vocabulary, first_run, end_run;
    float spread, steps;
  };
  unsigned seed = 0;
  for (const Case& c : {Case{700, 0, 44, 3, 0}, Case{5003, 3, 100, 3, 0}, Case{9000, 100, 190, 2, 0.25f},
                        Case{701, 43, 44, 3, 1}, Case{9000, 0, 188, 1, 0}}) {
    SCOPED_TRACE(::testing::Message() << "vocabulary " << c.vocabulary << ", runs from " << c.first_run);
    const Rows rows(c.vocabulary, c.first_run, c.end_run, 3, ++seed, c.spread, c.steps);
    expect_as_the_host(rows, requests_of_all_kinds(rows, seed), c.end_run == 188 ? 2 : 1);
  }
}

#ifndef LLM_TP_REAL_GPU
TEST_F(ScoreReading, TheOrderOfThreadsDoesNotChangeABit) {
  using emulator::ThreadOrder;
  const Rows rows(700, 0, 44, 2, 3, 3, 0);
  for (const ThreadOrder order : {ThreadOrder::kDescending, ThreadOrder::kRandom}) {
    emulator::set_thread_order(order, 7);
    expect_as_the_host(rows, requests_of_all_kinds(rows, 3));
  }
  emulator::set_thread_order(ThreadOrder::kAscending);
}
#endif

TEST_F(ScoreReading, NoRowGoesToTheHostWhereItNeedNot) {
  const Rows rows(5003, 0, 157, 4, 5, 3, 0);
  ScoreList list = requests_of_all_kinds(rows, 5);
  std::erase_if(list.rows,
                [](const RowRequest& r) { return r.whole != WholeKind::kNone || r.sampling.is_typical(); });
  EXPECT_GE(list.rows.size(), 16u);
  expect_as_the_host(rows, list, 2);
  EXPECT_EQ(cuda.rows_on_host, 0);
}

TEST_F(ScoreReading, LeavesToTheHostWhatItCannotDecide) {
  const auto rows_for = [&](const Rows& rows, auto change) {
    RowRequest request;
    change(request);
    ScoreList list;
    list.rows = {request};
    cuda.rows_on_host = 0;
    expect_as_the_host(rows, list);
    return cuda.rows_on_host;
  };
  const auto greedy = [](RowRequest&) {};
  const auto drawn = [](RowRequest& r) { r.sampling.temperature = 1; };
  const auto listed = [](RowRequest& r) { r.best = 5; };
  Rows rows(700, 0, 44, 1, 1, 3, 0);
  EXPECT_EQ(rows_for(rows, greedy), 0);
  Rows nan = rows;
  nan.logit(0, 0) = NAN;
  EXPECT_EQ(rows_for(nan, greedy), 1);
  Rows flat = rows;
  std::fill(flat.logits.begin(), flat.logits.end(), 0.0f);
  EXPECT_EQ(rows_for(flat, greedy), 1);  // 700 ties
  EXPECT_EQ(rows_for(flat, drawn), 0);
  Rows signs = rows;
  std::fill(signs.logits.begin(), signs.logits.end(), -1.0f);
  for (const TokenId id : {5, 90, 400}) signs.logit(0, id) = id == 90 ? 0.0f : -0.0f;  // they are equal
  EXPECT_EQ(rows_for(signs, greedy), 0);
  Rows infinite = rows;
  infinite.logit(0, 3) = kInfinity;
  EXPECT_EQ(rows_for(infinite, greedy), 0);
  EXPECT_EQ(rows_for(infinite, drawn), 1);
  Rows forbidden = rows;
  std::fill(forbidden.logits.begin() + 4, forbidden.logits.end(), -kInfinity);
  EXPECT_EQ(rows_for(forbidden, greedy), 0);
  EXPECT_EQ(rows_for(forbidden, drawn), 0);
  EXPECT_EQ(rows_for(forbidden, listed), 1);  // four can be told, the fifth is a tie of all others
  std::fill(forbidden.logits.begin(), forbidden.logits.end(), -kInfinity);
  EXPECT_EQ(rows_for(forbidden, greedy), 0);
  EXPECT_EQ(rows_for(forbidden, drawn), 0);
}

TEST_F(ScoreReading, ARowEndsBeforeTheNextOneBegins) {
  Rows rows(701, 0, 44, 2, 1, 3, 0);  // no whole segments
  rows.logit(0, 700) = 50;
  rows.logit(1, 0) = 60;
  ScoreList list;
  list.rows.emplace_back();
  list.rows.emplace_back().sampling.temperature = 1;
  list.rows.back().sampling.top_k = 5;
  expect_as_the_host(rows, list);
}

/// Scores so large that they swallow the draws: the largest keys are equal, and the first of them is drawn.
TEST_F(ScoreReading, TheFirstOfEqualKeysIsDrawn) {
  Rows rows(700, 0, 44, 1, 1, 3, 0);
  for (const TokenId id : {30, 31, 600}) rows.logit(0, id) = 1e30f;
  ScoreList list;
  list.rows.emplace_back().sampling.temperature = 1;
  expect_as_the_host(rows, list);
  EXPECT_EQ(cuda.rows_on_host, 1);
}

TEST_F(ScoreReading, ManyDrawsAreThoseOfTheHost) {
  const Rows rows(700, 0, 44, 1, 9, 1, 0);
  ScoreList list;
  for (std::int32_t position = 0; position < 60; ++position) {
    RowRequest& request = list.rows.emplace_back();
    request.position = position;
    request.sequence = position % 3;
    request.sampling.temperature = 1;
    request.sampling.seed = std::uint64_t{1} << 40 | 7;
  }
  expect_as_the_host(rows, list);
  EXPECT_LE(cuda.rows_on_host, 1);  // most cannot be too near to be told apart
}

TEST_F(ScoreReading, APartWithoutTokensHasNothing) {
  Rows rows(700, 44, 44, 1, 1, 3, 0);
  rows.logits.resize(1);  // no memory of no bytes
  ScoreList list;
  list.rows.resize(2);
  list.rows[1].sampling.temperature = 1;
  expect_as_the_host(rows, list);
}

TEST_F(ScoreReading, TakesNoMemoryAfterwards) {
  const Rows rows(5003, 0, 157, 3, 2, 3, 0);
  StepLimits limits;
  limits.vocabulary_rows = rows.part.size();
  limits.vocabulary_run = vocabulary_unit(rows.vocabulary);
  limits.host_bytes = std::ssize(rows.logits) * 4;
  cuda.reserve(limits, {});
  const DeviceBuffer memory = cuda.allocate(rows.logits.size() * sizeof(float));
  cuda.upload(memory.data(), std::as_bytes(std::span(rows.logits)));
  PartReader reader(cuda, rows.part, rows.vocabulary);
  const ScoreList list = requests_of_all_kinds(rows, 3);
  std::vector<std::uint32_t> open(list.rows.size());
  std::iota(open.begin(), open.end(), 0u);
  const std::int64_t before = DeviceLog::of_this_thread().times_taken();
  reader.read(list, list.rows, open, std::vector<double>(open.size()), 1,
              {rows.view(memory.floats()), rows.numbers});
  EXPECT_EQ(DeviceLog::of_this_thread().times_taken(), before);
}

}  // namespace
}  // namespace llm_tp::testing

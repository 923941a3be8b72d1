// The step that every rank runs: what a broken plan or a broken rank does to the group.
#include "engine/step_runner.h"

#include <gtest/gtest.h>

#include "comm/local_group.h"
#include "engine/leader.h"
#include "engine/memory_plan.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"
#include "weights/safetensors.h"

namespace llm_tp {
namespace {

constexpr int kPages = 4;
constexpr std::int32_t kMostRows = 8;

/// A device whose op number `good_ops` fails.
class FailingBackend final : public CpuBackend {
 public:
  explicit FailingBackend(int good_ops) : CpuBackend(CpuOptions{}), left_(good_ops) {}

  void embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
             Range rows) override {
    count(), CpuBackend::embed(out, tokens, table, rows);
  }
  void rms_norm(TensorView out, TensorView x, TensorView weight, float eps) override {
    count(), CpuBackend::rms_norm(out, x, weight, eps);
  }
  void linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) override {
    count(), CpuBackend::linear(out, x, w, bias);
  }
  void linear_roots(TensorView out, TensorView x, const PackedWeight& w) override {
    count(), CpuBackend::linear_roots(out, x, w);
  }
  void attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
              const HeadMap& heads, const AttentionOptions& options) override {
    count(), CpuBackend::attend(out, q, cache, layer, batch, heads, options);
  }
  void silu_mul(TensorView out, TensorView gate_up) override { count(), CpuBackend::silu_mul(out, gate_up); }
  void add(TensorView h, TensorView x, TensorView bias, float factor) override {
    count(), CpuBackend::add(h, x, bias, factor);
  }

 private:
  void count() {
    if (left_-- == 0) throw Error(ExitCode::kUnavailable, "the device fell off the bus");
  }
  int left_;
};

/// A rank as run_engine makes it, on the device of the test.
class Rank {
 public:
  Rank(DeviceBackend& ops, Communicator& ranks, ControlChannel& control)
      : folder_(golden_folder() + "/models/heads_9_3"),
        shape_(ModelShape::from_config(folder_ + "/config.json")),
        source_(folder_),
        loader_(shape_, source_, std::nullopt),
        plan_(ShardPlan::make(shape_, ranks.world(), loader_.units())),
        model_(shape_, plan_, ranks.rank(),
               loader_.load(plan_, ranks.rank(), ops, [](std::int64_t, std::int64_t) {}), ops, ranks,
               kMostRows),
        cache_(ops.make_kv_cache(kv_shape_of(shape_, plan_.ranks[static_cast<std::size_t>(ranks.rank())],
                                             DType::kF32, kv_groups_of(shape_).front(), kPages, 16))),
        runner({{&model_, {cache_.get()}}}, ops, ranks, control, shape_.vocabulary, 0) {}

 private:
  std::string folder_;
  ModelShape shape_;
  SafetensorsSource source_;
  WeightLoader loader_;
  ShardPlan plan_;
  Decoder model_;
  std::unique_ptr<KvCache> cache_;

 public:
  StepRunner runner;
};

void generate_two_tokens(StepRunner& runner, ControlChannel& control) {
  Leader leader(runner, control, {kMostRows, 16, {{kPages}}, {}});
  Request request;
  request.prompt = {1, 2, 3, 4, 5};
  request.max_tokens = 2;
  leader.scheduler().add(request);
  leader.run([](const Progress&) {});
  leader.stop();
}

/// false where the whole group ended well; an error other than the device's fails the test.
bool fails_on(int failing_rank, int good_ops) {
  try {
    LocalGroup(3).run([&](Communicator& ranks, ControlChannel& control) {
      FailingBackend ops(ranks.rank() == failing_rank ? good_ops : std::numeric_limits<int>::max());
      Rank rank(ops, ranks, control);
      if (ranks.rank() == 0)
        generate_two_tokens(rank.runner, control);
      else
        work(rank.runner, control);
    });
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUnavailable);
    EXPECT_STREQ(error.what(), "the device fell off the bus");
    return true;
  }
}

TEST(StepRunner, ARankThatFailsInAnyOpOfAnyStepEndsTheGroupWithItsError) {
  for (const int rank : {0, 1, 2}) {
    int failures = 0;
    for (int good_ops = rank; fails_on(rank, good_ops); good_ops += 5) ++failures;
    EXPECT_GT(failures, 5) << "rank " << rank;
  }
}

StepPlan good_plan() {
  StepPlan plan;
  plan.tokens = {1, 2, 3};
  plan.slices = {{3, 0, 5}};
  plan.tables = {{0, 1}};
  plan.pages = {2};
  plan.score.rows.push_back({});
  plan.score.rows.back().row = 2;
  return plan;
}

void run_on_two_ranks(const StepPlan& plan) {
  LocalGroup(2).run([&](Communicator& ranks, ControlChannel& control) {
    CpuBackend ops{CpuOptions{}};
    Rank rank(ops, ranks, control);
    const auto results = rank.runner.run(plan);
    EXPECT_EQ(results.size(), ranks.rank() == 0 ? plan.score.rows.size() : 0);
  });
}

TEST(StepRunner, ResultsAreRankZerosAlone) { run_on_two_ranks(good_plan()); }

TEST(StepRunner, AStepThatScoresNothingIsFine) {
  StepPlan plan = good_plan();
  plan.score.rows.clear();
  run_on_two_ranks(plan);
}

TEST(StepRunner, RefusesPlansWithIdsOutOfRange) {
  const auto refused = [](const std::function<void(StepPlan&)>& change, const std::string& word) {
    StepPlan plan = good_plan();
    change(plan);
    expect_error(ExitCode::kBug, {word}, [&] { run_on_two_ranks(plan); });
  };
  refused([](StepPlan& p) { p.tokens[1] = -1; }, "token");
  refused([](StepPlan& p) { p.tokens[1] = 1 << 20; }, "token");
  refused([](StepPlan& p) { p.pages[0] = kPages; }, "page");
  refused([](StepPlan& p) { p.pages[0] = -1; }, "page");
  refused([](StepPlan& p) { p.slices[0].first_position = 14; }, "page");  // reaches into a second page
  refused([](StepPlan& p) { p.tables[0].pages_before = 1; }, "page");     // sees pages before the table
  refused([](StepPlan& p) { p.tables = {{0, 1}, {0, 1}}; }, "caches");
  refused([](StepPlan& p) { p.copies = {{0, 0, kPages}}; }, "page");
  refused(
      [](StepPlan& p) {
        p.tokens.assign(kMostRows + 1, 1);
        p.slices[0].rows = kMostRows + 1;
      },
      "rows");
}

TEST(Work, ARankThatIsOutOfStepSaysSo) {
  expect_error(ExitCode::kBug, {"step 0", "7"}, [] {
    LocalGroup(2).run([&](Communicator& ranks, ControlChannel& control) {
      CpuBackend ops{CpuOptions{}};
      Rank rank(ops, ranks, control);
      if (ranks.rank() == 1) return work(rank.runner, control);
      StepPlan plan = good_plan();
      plan.step = 7;
      std::vector<std::byte> bytes = plan.to_bytes();
      control.broadcast(bytes);
      rank.runner.run(plan);
    });
  });
}

TEST(Work, EndsWithTheStopPlanAndReportsWhenAsked) {
  LocalGroup(3).run([](Communicator& ranks, ControlChannel& control) {
    CpuBackend ops{CpuOptions{}};
    Rank rank(ops, ranks, control);
    if (ranks.rank() != 0) return work(rank.runner, control);
    Leader leader(rank.runner, control, {kMostRows, 16, {{kPages}}, {}});
    const std::vector<RankReport> reports = leader.report();
    ASSERT_EQ(reports.size(), 3U);
    for (const RankReport& report : reports) EXPECT_GT(report.peak_memory, 1 << 20);
    leader.stop();
  });
}

}  // namespace
}  // namespace llm_tp

#include "serve/group_view.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "harbour.h"
#include "serve/json_text.h"
#include "serve/metrics.h"

namespace llm_tp {
namespace {

class Nobody : public JobListener {
 public:
  bool progress(std::size_t, const Progress&) override { return true; }
  void over(JobEnd, const std::string&) override {}
};

void generate(EngineService& service, std::int32_t tokens) {
  Job job;
  job.requests.resize(1);
  job.requests[0].prompt = {1, 2, 3};
  job.requests[0].max_tokens = tokens;
  job.listener = std::make_shared<Nobody>();
  service.submit(std::move(job));
  while (service.step()) {
  }
}

/// The value of a line of the text exposition format.
double metric(const std::string& text, const std::string& name) {
  const std::size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

TEST(GroupView, SaysWhereEveryRankIsAndWhatItsTimeWentInto) {
  with_harbour(3, 2, [](Leader& leader, const ModelFiles& files) {
    const ServedModel model(files, 128);
    EngineService service(leader);
    GroupView view;
    Metrics metrics;
    service.watch([&](const ServiceState& state) {
      view.observe(state);
      metrics.step(state.last_step_seconds);
    });
    const Json before = Json::parse(view.text(model, service));
    ASSERT_EQ(before["ranks"].size(), 3u);
    EXPECT_EQ(before["tokens"]["generated"], 0);
    EXPECT_TRUE(before["ranks"][0]["recent_sum_share"].is_null());
    EXPECT_GT(before["ranks"][2]["peak_memory_bytes"], 1 << 20);

    generate(service, 40);
    const Json after = Json::parse(view.text(model, service));
    EXPECT_EQ(after["status"], "ok");
    EXPECT_EQ(after["model"]["names"][0], "hf");
    EXPECT_EQ(after["model"]["chat_template"], model.has_chat_template());
    EXPECT_EQ(after["tokens"]["generated"], 40);
    EXPECT_GT(after["tokens"]["recent_generated_per_second"], 0);
    EXPECT_EQ(after["pages"]["in_use"], 0);
    EXPECT_EQ(after["sequences"]["most"], 2);
    for (std::size_t r = 0; r < 3; ++r) {
      const Json& rank = after["ranks"][r];
      EXPECT_EQ(rank["rank"], r);
      EXPECT_EQ(rank["host"], "test");
      EXPECT_EQ(rank["pid"], ::getpid());
      EXPECT_EQ(rank["threads"], 1);
      EXPECT_TRUE(rank["device"].get<std::string>().starts_with("cpu")) << rank;
      const double step = rank["step_seconds"], sums = rank["sum_seconds"], waits = rank["waiting_seconds"];
      EXPECT_GT(sums, 0);
      EXPECT_GT(waits, 0);
      EXPECT_LE(sums + waits, step) << rank;
    }
    const ServiceState state = service.state();
    const std::string text = metrics.text(&state);
    EXPECT_EQ(metric(text, "llm_tp_step_seconds_count"), state.steps);
    for (const char* name : {"step", "sum", "wait"}) {
      const std::string full = std::string("llm_tp_rank_") + name + "_seconds_total{rank=\"2\"}";
      EXPECT_GT(metric(text, full), 0) << full;
    }
    EXPECT_GT(metric(text, "llm_tp_rank_peak_memory_bytes{rank=\"1\"}"), 1 << 20);
    EXPECT_GE(metric(text, "llm_tp_straggler_excess_ratio"), 0);
    EXPECT_GE(metric(text, "llm_tp_straggler_rank"), 0);
  });
}

}  // namespace
}  // namespace llm_tp

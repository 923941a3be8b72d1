#include "engine/leader.h"

#include <algorithm>
#include <chrono>

namespace llm_tp {

bool Leader::step(const std::function<void(const Progress&)>& on_progress) {
  const auto plan = scheduler_.next();
  if (!plan) return false;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::byte> bytes = plan->to_bytes();
  control_.broadcast(bytes);
  std::vector<RowResult> results = runner_.run(*plan);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!runner_.last_reports().empty()) rank_times_.update(runner_.last_reports());
  const bool decodes = !scheduler_.figures().prefills;
  const auto rows = static_cast<std::int64_t>(plan->tokens.size());
  const std::vector<Progress> all = scheduler_.commit(*plan, std::move(results));
  if (decodes) {
    times_.decode_seconds += seconds;
    times_.decode_rows += rows;
    times_.decode_tokens +=
        std::count_if(all.begin(), all.end(), [](const Progress& p) { return p.new_token; });
  } else {
    times_.prefill_seconds += seconds;
    times_.prefill_tokens += rows;
  }
  for (const Progress& progress : all) on_progress(progress);
  return true;
}

void Leader::run(const std::function<void(const Progress&)>& on_progress) {
  while (step(on_progress)) {
  }
}

void Leader::send(StepPlan::Kind kind) {
  StepPlan plan;
  plan.step = scheduler_.take_step_number();
  plan.kind = kind;
  std::vector<std::byte> bytes = plan.to_bytes();
  control_.broadcast(bytes);
}

std::vector<RankReport> Leader::report() {
  send(StepPlan::Kind::kReport);
  std::vector<RankReport> reports = runner_.report();
  rank_times_.update(reports);
  return reports;
}

void Leader::stop() { send(StepPlan::Kind::kStop); }

void work(StepRunner& runner, ControlChannel& control) {
  for (std::uint64_t step = 0;; ++step) {
    std::vector<std::byte> bytes;
    control.broadcast(bytes);
    const StepPlan plan = StepPlan::from_bytes(bytes, step);
    if (plan.kind == StepPlan::Kind::kStop) return;
    if (plan.kind == StepPlan::Kind::kReport)
      runner.report();
    else
      runner.run(plan);
  }
}

}  // namespace llm_tp

#include "serve/group_view.h"

#include "serve/json_text.h"

namespace llm_tp {
namespace {

RecentActivity::Sample sample_of(const ServiceState& state) {
  return {state.prompt_tokens, state.generated_tokens, state.rank_times};
}

Json share(const std::vector<double>& shares, std::size_t rank) {
  return rank < shares.size() ? Json(shares[rank]) : Json();
}

Json ranks_json(const ServiceState& state, const std::vector<RankPlace>& places,
                const RecentActivity::Rates& recent) {
  Json ranks = Json::array();
  for (std::size_t r = 0; r < places.size(); ++r) {
    Json rank{{"rank", r},
              {"host", places[r].host},
              {"pid", places[r].pid},
              {"device", places[r].device},
              {"threads", places[r].threads}};
    if (r < state.rank_reports.size()) {
      rank["weights_and_kv_bytes"] = state.rank_reports[r].weights_and_kv;
      rank["peak_memory_bytes"] = state.rank_reports[r].peak_memory;
    }
    if (r < state.rank_times.size()) {
      rank["step_seconds"] = state.rank_times[r].step;
      rank["sum_seconds"] = state.rank_times[r].sums;
      rank["waiting_seconds"] = state.rank_times[r].waiting;
    }
    rank["recent_sum_share"] = share(recent.sum_shares, r);
    rank["recent_waiting_share"] = share(recent.waiting_shares, r);
    ranks.push_back(std::move(rank));
  }
  return ranks;
}

}  // namespace

void GroupView::observe(const ServiceState& state) {
  const std::lock_guard lock(mutex_);
  recent_.add(Clock::now(), sample_of(state));
}

std::string GroupView::text(const ServedModel& model, const EngineService& service) const {
  const ServiceState state = service.state();
  const auto now = Clock::now();
  RecentActivity::Rates recent;
  {
    const std::lock_guard lock(mutex_);
    recent = recent_.rates(now, sample_of(state));
  }
  return to_text({{"status", state.draining ? "draining" : "ok"},
                  {"version", LLM_TP_VERSION},
                  {"uptime_seconds", std::chrono::duration<double>(now - began_).count()},
                  {"model",
                   {{"names", model.names()},
                    {"positions", model.most_positions()},
                    {"tokenizer", model.tokenizer() != nullptr},
                    {"chat_template", model.has_chat_template()}}},
                  {"requests", {{"running", state.jobs_running}, {"waiting", state.jobs_waiting}}},
                  {"sequences", {{"running", state.sequences_running}, {"most", service.most_sequences()}}},
                  {"pages", {{"in_use", state.pages_in_use}, {"all", state.pages}}},
                  {"steps", {{"count", state.steps}, {"seconds", state.step_seconds}}},
                  {"tokens",
                   {{"prompt", state.prompt_tokens},
                    {"generated", state.generated_tokens},
                    {"recent_prompt_per_second", recent.prompt_tokens},
                    {"recent_generated_per_second", recent.generated_tokens}}},
                  {"ranks", ranks_json(state, service.places(), recent)},
                  {"straggler", {{"rank", state.straggler.rank}, {"excess", state.straggler.excess}}}});
}

}  // namespace llm_tp

#include "serve/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>

namespace llm_tp {
namespace {

using Counters = prometheus::Family<prometheus::Counter>;
using prometheus::Histogram;

using Gauges = prometheus::Family<prometheus::Gauge>;

prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}
Counters& counters(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
Gauges& gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
/// The engine counts; what came since the last look is added.
void follow(prometheus::Counter& counter, double value) { counter.Increment(value - counter.Value()); }
Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help,
                     Histogram::BucketBoundaries bounds) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, std::move(bounds));
}

}  // namespace

struct Metrics::Registry {
  prometheus::Registry all;
  prometheus::Gauge& running =
      gauge(all, "llm_tp_requests_running", "Requests with a sequence in the step plan");
  prometheus::Gauge& waiting = gauge(all, "llm_tp_requests_waiting", "Requests that wait for room");
  prometheus::Gauge& sequences = gauge(all, "llm_tp_sequences_running", "Sequences in the step plan");
  prometheus::Family<prometheus::Gauge>& stuck =
      prometheus::BuildGauge()
          .Name("llm_tp_prompts_waiting")
          .Help("Prompts that wait or were preempted, by what the first of them lacks")
          .Register(all);
  prometheus::Gauge& wait_for_sequences = stuck.Add({{"reason", "sequences"}});
  prometheus::Gauge& wait_for_pages = stuck.Add({{"reason", "pages"}});
  prometheus::Counter& preemptions =
      counters(all, "llm_tp_preemptions_total", "Prompts that gave their KV pages back").Add({});
  prometheus::Counter& preempted_tokens =
      counters(all, "llm_tp_preempted_tokens_total", "Tokens whose keys and values they had").Add({});
  prometheus::Gauge& pages_in_use = gauge(all, "llm_tp_kv_pages_in_use", "KV pages that live sequences hold");
  prometheus::Gauge& pages = gauge(all, "llm_tp_kv_pages", "KV pages there are");
  prometheus::Gauge& connections = gauge(all, "llm_tp_connections", "Open HTTP connections");
  prometheus::Gauge& draining = gauge(all, "llm_tp_draining", "1 while the server takes no more requests");
  prometheus::Gauge& step_rows = gauge(all, "llm_tp_last_step_rows", "Rows of the last step");
  prometheus::Counter& steps = counters(all, "llm_tp_steps_total", "Steps of the model").Add({});
  prometheus::Counter& step_seconds = counters(all, "llm_tp_step_seconds_total", "Time in steps").Add({});
  Histogram& step = histogram(all, "llm_tp_step_seconds", "One step of the model",
                              {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5});
  Counters& rank_steps = counters(all, "llm_tp_rank_step_seconds_total", "A rank's time in steps");
  Counters& rank_sums =
      counters(all, "llm_tp_rank_sum_seconds_total", "Of it: in sums over ranks, without waiting");
  Counters& rank_waits =
      counters(all, "llm_tp_rank_wait_seconds_total", "Of it: waiting for ranks that came later");
  Gauges& rank_memory = gauges(all, "llm_tp_rank_peak_memory_bytes", "Most memory that a rank's process had");
  prometheus::Gauge& straggler = gauge(all, "llm_tp_straggler_rank", "The rank that works longest, lately");
  prometheus::Gauge& straggler_excess =
      gauge(all, "llm_tp_straggler_excess_ratio", "Its time at work over the mean of all ranks, less 1");
  Counters& requests = counters(all, "llm_tp_requests_total", "Answered requests by endpoint and status");
  prometheus::Counter& prompt = counters(all, "llm_tp_prompt_tokens_total", "Tokens of prompts").Add({});
  prometheus::Counter& cached =
      counters(all, "llm_tp_cached_prompt_tokens_total", "Tokens of prompts from the prefix cache").Add({});
  prometheus::Counter& generated = counters(all, "llm_tp_generated_tokens_total", "Tokens generated").Add({});
  Histogram& first_token = histogram(all, "llm_tp_time_to_first_token_seconds", "From request to first token",
                                     {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60});
  Histogram& token_gap = histogram(all, "llm_tp_inter_token_seconds", "Between two tokens of a sequence",
                                   {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5});
  Histogram& whole = histogram(all, "llm_tp_request_seconds", "From request to last token",
                               {.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600});
};

Metrics::Metrics() : registry_(std::make_unique<Registry>()) {}
Metrics::~Metrics() = default;

void Metrics::answered(const std::string& endpoint, int status) {
  registry_->requests.Add({{"endpoint", endpoint}, {"status", std::to_string(status)}}).Increment();
}
void Metrics::tokens(const Usage& usage) {
  registry_->prompt.Increment(static_cast<double>(usage.prompt_tokens));
  registry_->cached.Increment(static_cast<double>(usage.cached_tokens));
  registry_->generated.Increment(static_cast<double>(usage.completion_tokens));
  if (other_ != nullptr) other_->tokens(usage);
}
void Metrics::first_token(double seconds) {
  registry_->first_token.Observe(seconds);
  if (other_ != nullptr) other_->first_token(seconds);
}
void Metrics::token_gap(double seconds) {
  registry_->token_gap.Observe(seconds);
  if (other_ != nullptr) other_->token_gap(seconds);
}
void Metrics::whole(double seconds) {
  registry_->whole.Observe(seconds);
  if (other_ != nullptr) other_->whole(seconds);
}
void Metrics::connections(std::int64_t open) { registry_->connections.Set(static_cast<double>(open)); }

void Metrics::step(double seconds) { registry_->step.Observe(seconds); }

void Metrics::take_ranks(const ServiceState& state) {
  Registry& r = *registry_;
  for (std::size_t i = 0; i < state.rank_times.size(); ++i) {
    const prometheus::Labels rank{{"rank", std::to_string(i)}};
    follow(r.rank_steps.Add(rank), state.rank_times[i].step);
    follow(r.rank_sums.Add(rank), state.rank_times[i].sums);
    follow(r.rank_waits.Add(rank), state.rank_times[i].waiting);
    r.rank_memory.Add(rank).Set(static_cast<double>(state.rank_reports[i].peak_memory));
  }
  r.straggler.Set(state.straggler.rank);
  r.straggler_excess.Set(state.straggler.excess);
}

std::string Metrics::text(const ServiceState* state) {
  Registry& r = *registry_;
  if (state != nullptr) {
    r.running.Set(static_cast<double>(state->jobs_running));
    r.waiting.Set(static_cast<double>(state->jobs_waiting));
    r.sequences.Set(static_cast<double>(state->sequences_running));
    const auto waiting = static_cast<double>(state->requests_waiting);
    r.wait_for_sequences.Set(state->waits_for == WaitsFor::kSequences ? waiting : 0);
    r.wait_for_pages.Set(state->waits_for == WaitsFor::kPages ? waiting : 0);
    r.pages_in_use.Set(static_cast<double>(state->pages_in_use));
    r.pages.Set(static_cast<double>(state->pages));
    r.draining.Set(state->draining ? 1 : 0);
    r.step_rows.Set(static_cast<double>(state->step_rows));
    follow(r.preemptions, static_cast<double>(state->preemptions));
    follow(r.preempted_tokens, static_cast<double>(state->preempted_tokens));
    follow(r.steps, static_cast<double>(state->steps));
    follow(r.step_seconds, state->step_seconds);
    take_ranks(*state);
  }
  return prometheus::TextSerializer().Serialize(r.all.Collect());
}

}  // namespace llm_tp

#pragma once
#include <functional>
#include <string>

#include "client/load_report.h"
#include "config/engine_config.h"

namespace llm_tp {

/// Streams completions from an OpenAI server, any of them, and measures: one run for each number of streams
/// (a new request begins when one ends), then one for each rate (requests begin at random moments, as a
/// Poisson process, whatever the server can do). Prompts are random words. `on_report` is called after each
/// run. Blocks, on one thread.
/// key: the bearer token; empty: none.
/// Errors: kUnavailable where the server cannot be reached or names no model, kUsage for its address and for
/// a `request` that is no JSON object.
void run_load_test(const LoadTestConfig& config, const std::string& key,
                   const std::function<void(const LoadReport&)>& on_report);

}  // namespace llm_tp

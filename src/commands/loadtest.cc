#include <cstdio>

#include "client/load_test.h"
#include "commands/commands.h"
#include "commands/json_output.h"

namespace llm_tp {
namespace {

Json json_of(const Percentiles& p) {
  return {{"p50", p.p50}, {"p90", p.p90}, {"p99", p.p99}, {"max", p.max}};
}

Json json_of(const LoadReport& r) {
  return {{"name", r.name},
          {"seconds", r.seconds},
          {"requests", r.requests},
          {"refused", r.refused},
          {"failed", r.failed},
          {"requests_per_second", r.requests_per_second},
          {"prompt_tokens", r.prompt_tokens},
          {"cached_tokens", r.cached_tokens},
          {"new_tokens", r.new_tokens},
          {"new_tokens_per_second", r.new_tokens_per_second},
          {"first_token_seconds", json_of(r.first_token)},
          {"between_tokens_seconds", json_of(r.between_tokens)},
          {"request_seconds", json_of(r.whole)}};
}

void print_row(const LoadReport& r) {
  const auto ms = [](double seconds) { return 1000 * seconds; };
  std::printf("%-16s %8lld %9.1f %9.2f   %7.0f %7.0f   %7.1f %7.1f   %6lld\n", r.name.c_str(),
              static_cast<long long>(r.requests), r.new_tokens_per_second, r.requests_per_second,
              ms(r.first_token.p50), ms(r.first_token.p99), ms(r.between_tokens.p50),
              ms(r.between_tokens.p99), static_cast<long long>(r.refused + r.failed));
  if (!r.first_error.empty()) std::printf("  the first error: %s\n", r.first_error.c_str());
  std::fflush(stdout);
}

}  // namespace

void loadtest_command(const CommandLine& line) {
  const LoadTestConfig& config = line.resolved.config.loadtest;
  Json runs = Json::array();
  std::int64_t answered = 0;
  std::string first_error;
  if (!line.json)
    std::printf("%-16s %8s %9s %9s   %15s   %15s   %6s\n%-16s %8s %9s %9s   %7s %7s   %7s %7s   %6s\n", "",
                "", "new", "answered", "first token, ms", "tokens apart", "not", "", "requests", "tokens/s",
                "a second", "p50", "p99", "p50, ms", "p99", "served");
  run_load_test(config, api_key_of_environment(), [&](const LoadReport& report) {
    answered += report.requests - report.refused - report.failed;
    if (first_error.empty()) first_error = report.first_error;
    if (line.json)
      runs.push_back(json_of(report));
    else
      print_row(report);
  });
  if (line.json) print_json({{"url", config.url}, {"runs", runs}});
  if (answered == 0)
    throw Error(ExitCode::kUnavailable, config.url + " answered no request whole: " + first_error);
}

}  // namespace llm_tp

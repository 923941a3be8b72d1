#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llm_tp {

/// What became of one streamed request. Times are seconds since the run began.
struct RequestTimes {
  double sent = 0, ended = 0;
  std::vector<double> pieces;  // when each piece of the answer came
  // As the server's usage says; without it each piece is a new token.
  std::int64_t prompt_tokens = 0, cached_tokens = 0, new_tokens = 0;
  int status = 0;     // of HTTP; 0: there was no reply
  std::string error;  // why it has no whole answer; empty: it has
};

/// Of a sorted list of times.
struct Percentiles {
  double p50 = 0, p90 = 0, p99 = 0, max = 0;
};
/// By nearest rank: the least value that no less than that share of the values do not exceed. Of nothing: 0.
Percentiles percentiles(std::vector<double> values);

/// One run of a load test.
struct LoadReport {
  std::string name;  // "8 streams", "2.5 requests/s"
  double seconds = 0;
  std::int64_t requests = 0, refused = 0, failed = 0;  // refused: 429 or 503
  std::string first_error;
  double requests_per_second = 0;  // that were answered
  std::int64_t prompt_tokens = 0, cached_tokens = 0, new_tokens = 0;
  double new_tokens_per_second = 0;
  Percentiles first_token, between_tokens, whole;  // seconds
};
LoadReport report_of(std::string name, const std::vector<RequestTimes>& requests);

}  // namespace llm_tp

#include "client/load_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace llm_tp {

Percentiles percentiles(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::max<std::size_t>(rank, 1) - 1];
  };
  return {at(0.5), at(0.9), at(0.99), values.back()};
}

LoadReport report_of(std::string name, const std::vector<RequestTimes>& requests) {
  LoadReport report;
  report.name = std::move(name);
  std::vector<double> first, between, whole;
  for (const RequestTimes& r : requests) {
    ++report.requests;
    report.seconds = std::max(report.seconds, r.ended);
    if (!r.error.empty()) {
      (r.status == 429 || r.status == 503 ? report.refused : report.failed) += 1;
      if (report.first_error.empty()) report.first_error = r.error;
      continue;
    }
    report.prompt_tokens += r.prompt_tokens;
    report.cached_tokens += r.cached_tokens;
    report.new_tokens += r.new_tokens;
    whole.push_back(r.ended - r.sent);
    if (!r.pieces.empty()) first.push_back(r.pieces.front() - r.sent);
    for (std::size_t i = 1; i < r.pieces.size(); ++i) between.push_back(r.pieces[i] - r.pieces[i - 1]);
  }
  if (report.seconds > 0) {
    report.requests_per_second = static_cast<double>(whole.size()) / report.seconds;
    report.new_tokens_per_second = static_cast<double>(report.new_tokens) / report.seconds;
  }
  report.first_token = percentiles(std::move(first));
  report.between_tokens = percentiles(std::move(between));
  report.whole = percentiles(std::move(whole));
  return report;
}

}  // namespace llm_tp

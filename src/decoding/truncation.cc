#include "decoding/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace llm_tp {
namespace {

/// The list while the filters work on it.
class Truncation {
 public:
  Truncation(CandidateList list, const SamplingSettings& settings)
      : list_(std::move(list)),
        temperature_(settings.temperature),
        keep_(static_cast<std::size_t>(std::max(settings.min_keep, 1))) {}

  bool top_k(std::int32_t k) {
    const auto wanted = std::max(static_cast<std::size_t>(k), keep_);
    if (wanted > size()) return list_.complete;
    std::size_t count = wanted;
    while (count < size() && score(count) == score(wanted - 1)) ++count;
    // A list that ends in the ties of the last one may lack some, unless ranks sent all of theirs: they did.
    return cut(count);
  }

  bool top_p(double p) {
    double before = 0;  // mass of what is likelier
    for (std::size_t i = 0; i < size(); ++i) {
      if (i >= keep_ && before >= p) return cut(i);
      before += probability(i);
    }
    // Where the list ends just at the border, what is missing is cut off.
    return before >= p ? cut(size()) : list_.complete;
  }

  /// Keeps the tokens with a probability of `threshold` at least; `ties`: keep_ may grow by equals of the
  /// last.
  bool at_least(double threshold, bool ties) {
    std::size_t least = std::min(keep_, size());
    while (ties && least > 0 && least < size() && score(least) == score(least - 1)) ++least;
    for (std::size_t i = least; i < size(); ++i)
      if (probability(i) < threshold) return cut(i);
    return list_.complete;
  }

  bool min_p(double p) { return size() == 0 || at_least(p * probability(0), false); }

  bool eta(double eta) {
    return at_least(std::min(eta, std::sqrt(eta) * std::exp(-list_.normaliser.entropy)), true);
  }

  bool typical(double mass) {
    if (!list_.complete) return false;
    struct Distance {
      double shifted;
      std::size_t at;
    };
    std::vector<Distance> order;
    for (std::size_t i = 0; i < size(); ++i)
      order.push_back({std::abs(-log_probability(i) - list_.normaliser.entropy), i});
    std::stable_sort(order.begin(), order.end(),
                     [](const Distance& a, const Distance& b) { return a.shifted < b.shifted; });
    double before = 0;
    std::size_t last = 0;
    for (; last + 1 < order.size(); ++last) {
      before += probability(order[last].at);
      if (before >= mass) break;
    }
    std::vector<bool> stays(size(), false);
    for (std::size_t i = 0; i < order.size(); ++i)
      if (i < keep_ || order[i].shifted <= order[last].shifted) stays[order[i].at] = true;
    std::vector<Candidate> kept;
    for (std::size_t i = 0; i < size(); ++i)
      if (stays[i]) kept.push_back(list_.sorted[i]);
    list_.sorted = std::move(kept);
    normalise();
    return true;
  }

  std::vector<Candidate> take() { return std::move(list_.sorted); }

 private:
  std::size_t size() const noexcept { return list_.sorted.size(); }
  float score(std::size_t i) const noexcept { return list_.sorted[i].score; }
  double log_probability(std::size_t i) const noexcept {
    return score(i) / temperature_ - list_.normaliser.log_sum_exp;
  }
  double probability(std::size_t i) const noexcept { return std::exp(log_probability(i)); }

  bool cut(std::size_t count) {
    list_.sorted.resize(count);
    list_.complete = true;
    normalise();
    return true;
  }
  void normalise() { list_.normaliser = normaliser_of(list_.sorted, temperature_); }

  CandidateList list_;
  double temperature_;
  std::size_t keep_;
};

}  // namespace

Normaliser normaliser_of(const std::vector<Candidate>& list, double temperature) {
  if (list.empty()) return {-std::numeric_limits<double>::infinity(), 0};
  double maximum = list[0].score;
  for (const Candidate& c : list) maximum = std::max<double>(maximum, c.score);
  double sum = 0, weighted = 0;
  for (const Candidate& c : list) {
    const double x = (c.score - maximum) / temperature, e = std::exp(x);
    sum += e;
    weighted += e * x;
  }
  return {maximum / temperature + std::log(sum), std::log(sum) - weighted / sum};
}

std::optional<std::vector<Candidate>> truncate(CandidateList list, const SamplingSettings& settings) {
  Truncation t(std::move(list), settings);
  const bool decided = (settings.top_k <= 0 || t.top_k(settings.top_k)) &&
                       (settings.top_p >= 1 || t.top_p(settings.top_p)) &&
                       (settings.min_p <= 0 || t.min_p(settings.min_p)) &&
                       (!settings.is_typical() || t.typical(settings.typical_p)) &&
                       (settings.epsilon_cutoff <= 0 || t.at_least(settings.epsilon_cutoff, true)) &&
                       (settings.eta_cutoff <= 0 || t.eta(settings.eta_cutoff));
  if (!decided) return std::nullopt;
  return t.take();
}

}  // namespace llm_tp

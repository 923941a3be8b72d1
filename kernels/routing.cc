#include "kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/exact_exp.h"

namespace llm_tp {
namespace {

struct Choice {
  std::vector<std::int32_t> experts;  // ascending
  std::vector<float> weights;
};

Choice choose(const float* logits, const RouterRule& rule) {
  const auto count = static_cast<std::size_t>(rule.experts), chosen = static_cast<std::size_t>(rule.chosen);
  std::vector<std::int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(chosen), order.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
                    });
  const double largest = logits[order[0]];
  order.resize(chosen);
  std::sort(order.begin(), order.end());
  double total = 0;
  if (rule.normalise)
    for (const std::int32_t e : order) total += exact_exp(logits[e] - largest);
  else
    for (std::size_t e = 0; e < count; ++e) total += exact_exp(logits[e] - largest);
  Choice choice{order, {}};
  for (const std::int32_t e : order)
    choice.weights.push_back(static_cast<float>(exact_exp(logits[e] - largest) / total));
  return choice;
}

}  // namespace

RoutingTables route_on_host(TensorView logits, const RouterRule& rule) {
  LLM_TP_CHECK(logits.columns() == rule.experts, "route: logits are not [T, experts]");
  std::vector<Choice> choices;
  RoutingTables routing;
  routing.begins.assign(static_cast<std::size_t>(rule.experts) + 1, 0);
  for (std::int64_t t = 0; t < logits.rows(); ++t) {
    choices.push_back(choose(logits.row(t), rule));
    for (const std::int32_t e : choices.back().experts) ++routing.begins[static_cast<std::size_t>(e) + 1];
  }
  std::partial_sum(routing.begins.begin(), routing.begins.end(), routing.begins.begin());
  const auto pairs = static_cast<std::size_t>(routing.begins.back());
  routing.tokens.resize(pairs), routing.weights.resize(pairs);
  std::vector<std::int32_t> next(routing.begins.begin(), routing.begins.end() - 1);
  for (std::size_t t = 0; t < choices.size(); ++t)
    for (std::size_t i = 0; i < choices[t].experts.size(); ++i) {
      const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(choices[t].experts[i])]++);
      routing.tokens[at] = static_cast<std::int32_t>(t);
      routing.weights[at] = choices[t].weights[i];
    }
  return routing;
}

std::vector<float> sigmoids(TensorView x) {
  std::vector<float> out;
  for (std::int64_t t = 0; t < x.rows(); ++t)
    out.push_back(static_cast<float>(1 / (1 + exact_exp(-double{x.row(t)[0]}))));
  return out;
}

}  // namespace llm_tp

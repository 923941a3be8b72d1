#include "comm/single_rank.h"

#include <cstring>

#include "comm/tree_reduce.h"

namespace llm_tp {

void SingleRank::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  const std::int64_t elements = checked_elements(out, mine, parts, 0, 1);
  const float* const first = reinterpret_cast<const float*>(mine.data);
  std::vector<const float*> roots(static_cast<std::size_t>(parts.total_roots()));
  for_each_run(out, 0, elements, [&](float* run, std::int64_t begin, std::int64_t count) {
    for (std::size_t i = 0; i < roots.size(); ++i) {
      roots[i] = first + static_cast<std::int64_t>(i) * elements + begin;
    }
    evaluate_tree(parts.additions(), roots, run, count);
  });
}

void SingleRank::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_shared_rows(out, mine, owners, 1);
  const auto bytes = static_cast<std::size_t>(out.columns()) * sizeof(float);
  for (std::int64_t row = 0; row < out.shape[0]; ++row) {
    if (out.row(row) != mine.row(row)) std::memmove(out.row(row), mine.row(row), bytes);
  }
}

std::vector<std::vector<std::byte>> SingleRank::gather(std::span<const std::byte> mine) {
  return {std::vector<std::byte>(mine.begin(), mine.end())};
}

}  // namespace llm_tp

#include "schedule/row_shares.h"

#include <algorithm>

namespace llm_tp {
namespace {

void give(RowShare& share, std::int32_t most, std::int32_t& budget) {
  const std::int32_t rows = std::min({share.waiting - share.rows, most, budget});
  share.rows += rows;
  budget -= rows;
}

}  // namespace

void share_rows(std::span<RowShare> all, std::int32_t budget) {
  if (all.empty()) return;
  // Who is first in line goes on in every step.
  if (!all[0].decodes) give(all[0], 1, budget);
  for (RowShare& share : all)
    if (share.decodes) give(share, share.waiting, budget);
  const auto prompt = std::find_if(all.begin(), all.end(), [](const RowShare& s) { return !s.decodes; });
  if (prompt == all.end()) return;
  const bool fits = prompt->waiting - prompt->rows <= budget;
  give(*prompt, fits ? budget : (budget + prompt->rows + 1) / 2 - prompt->rows, budget);
  for (RowShare& share : all)
    if (!share.decodes && share.waiting <= budget) give(share, share.waiting, budget);
  for (RowShare& share : all)
    if (!share.decodes) give(share, share.waiting, budget);
}

}  // namespace llm_tp

#include <algorithm>
#include <cmath>

#include "decoding/processors.h"

namespace llm_tp {
namespace {

void append_forced(std::span<const TokenId> ids, std::vector<Adjustment>& out) {
  out.push_back({0, Adjustment::Op::kForbidAll, 0});
  for (TokenId id : ids) out.push_back({id, Adjustment::Op::kSet, 0});
}

}  // namespace

void append_length_rules(const ProcessorSettings& s, std::int64_t length, std::int64_t prompt_tokens,
                         std::vector<Adjustment>& out) {
  if (length < s.min_length || length - prompt_tokens < s.min_new_tokens) append_forbidden(s.end_ids, out);
  if (!s.forced_begin.empty() && length == 1) append_forced(s.forced_begin, out);
  if (!s.forced_end.empty() && length == s.max_length - 1) append_forced(s.forced_end, out);
  const std::int64_t beyond = length - prompt_tokens - s.decay_start;
  if (s.decay_factor == 1 || beyond <= 0) return;
  const auto growth = static_cast<float>(std::pow(s.decay_factor, static_cast<double>(beyond)) - 1);
  for (std::size_t i = 0; i < s.end_ids.size(); ++i)  // an id that is listed twice grows once
    if (std::find(s.end_ids.begin(), s.end_ids.begin() + static_cast<std::ptrdiff_t>(i), s.end_ids[i]) ==
        s.end_ids.begin() + static_cast<std::ptrdiff_t>(i))
      out.push_back({s.end_ids[i], Adjustment::Op::kGrow, growth});
}

}  // namespace llm_tp

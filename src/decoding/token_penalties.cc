#include <algorithm>

#include "decoding/processors.h"

namespace llm_tp {
namespace {

/// Calls use(id, count) once for each distinct id, in the order of first appearance.
template <class Use>
void for_each_distinct(std::span<const TokenId> tokens, std::vector<std::uint32_t>& counts, Use use) {
  TokenId largest = -1;
  for (TokenId id : tokens) largest = std::max(largest, id);
  if (static_cast<std::size_t>(largest + 1) > counts.size())
    counts.resize(static_cast<std::size_t>(largest + 1));
  for (TokenId id : tokens) ++counts[static_cast<std::size_t>(id)];
  for (TokenId id : tokens) {
    std::uint32_t& count = counts[static_cast<std::size_t>(id)];
    if (count > 0) use(id, count);
    count = 0;
  }
}

}  // namespace

void append_sequence_bias(std::span<const BiasedSequence> sequences, std::span<const TokenId> tokens,
                          std::vector<Adjustment>& out) {
  for (const BiasedSequence& s : sequences) {
    const std::size_t before = s.ids.size() - 1;
    if (before > 0 && s.ids.size() > tokens.size()) continue;
    if (std::equal(s.ids.begin(), s.ids.end() - 1, tokens.end() - static_cast<std::ptrdiff_t>(before)))
      out.push_back({s.ids.back(), Adjustment::Op::kAdd, s.bias});
  }
}

void append_repetition_penalty(float penalty, std::span<const TokenId> tokens,
                               std::vector<std::uint32_t>& counts, std::vector<Adjustment>& out) {
  for_each_distinct(tokens, counts, [&](TokenId id, std::uint32_t) {
    out.push_back({id, Adjustment::Op::kPenalise, penalty});
  });
}

void append_count_penalties(float presence, float frequency, std::span<const TokenId> output,
                            std::vector<std::uint32_t>& counts, std::vector<Adjustment>& out) {
  for_each_distinct(output, counts, [&](TokenId id, std::uint32_t count) {
    out.push_back({id, Adjustment::Op::kAdd, -(presence + static_cast<float>(count) * frequency)});
  });
}

}  // namespace llm_tp

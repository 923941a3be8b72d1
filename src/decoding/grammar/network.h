#pragma once
#include <cstdint>
#include <vector>

#include "decoding/grammar/grammar.h"

namespace llm_tp {

/// A grammar as states and edges (Woods 1970, recursive transition networks): a state consumes a byte, calls
/// a rule, goes on for nothing, or ends its rule.
struct Network {
  using State = std::int32_t;
  static constexpr std::size_t kMostStates = 50000;

  struct ByteEdge {
    std::uint8_t first = 0, last = 0;
    State to = -1;
  };
  struct Call {
    State rule_start = -1, back = -1;
  };
  struct StateData {
    std::vector<ByteEdge> bytes;
    std::vector<State> skips;
    std::vector<Call> calls;
    bool ends_rule = false;
  };
  std::vector<StateData> states;
  State start = -1;

  /// Errors: kUsage for a grammar of more than kMostStates states, one with left recursion, or with a rule
  /// that has no end or no body; `what` names the grammar in messages.
  static Network compile(const Grammar& grammar, const std::string& what);
};

}  // namespace llm_tp

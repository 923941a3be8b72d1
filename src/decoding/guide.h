#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "decoding/score_list.h"

namespace llm_tp {

/// The tokens that may come next, in the shortest of three forms; never kNone.
struct TokenMask {
  MaskKind kind = MaskKind::kAllowed;
  std::vector<std::uint32_t> words;
};

/// What a completion may look like, token by token: an automaton over a vocabulary. Rank 0 alone has one; the
/// ranks get masks. States are numbers that stay valid. Not thread-safe.
class Guide {
 public:
  using State = std::int32_t;
  static constexpr State kDead = -1;  // what stands there can never become allowed

  virtual ~Guide() = default;
  virtual State start() = 0;
  virtual State after(State state, TokenId token) = 0;
  /// End ids are allowed where the text may end. Valid until the next call.
  virtual const TokenMask& mask(State state) = 0;
  /// The text is whole and nothing may follow.
  virtual bool is_over(State state) = 0;
  /// Appends the tokens that spell the only way on, at most `most`, where there is only one: a guess, since
  /// other tokens may spell the same text.
  virtual void forced(State state, std::int32_t most, std::vector<TokenId>& out) = 0;
};

}  // namespace llm_tp

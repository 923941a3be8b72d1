#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Byte-pair encoding of one piece: of all neighbouring pairs the one whose merge comes first in the list is
/// joined, the leftmost of equals, until none is left (Sennrich et al. 2016). O(n log n). Immutable; any
/// thread may use it.
class BpeMerger {
 public:
  /// The ids of the 256 single bytes; bytes without a token are left out of the text, as Hugging Face's
  /// tokenizers do.
  using ByteIds = std::array<std::optional<TokenId>, 256>;
  struct Merge {
    TokenId left, right, joined;
  };
  BpeMerger() = default;
  /// Merges in order of rank; of equal pairs the last counts, as in Hugging Face's tokenizers.
  BpeMerger(const ByteIds& bytes, const std::vector<Merge>& merges);
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  struct Rule {
    std::uint32_t rank;
    TokenId joined;
  };
  static std::uint64_t key(TokenId left, TokenId right) {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
  }
  ByteIds bytes_{};
  std::unordered_map<std::uint64_t, Rule> rules_;
};

}  // namespace llm_tp

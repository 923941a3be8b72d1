#pragma once
#include <cstddef>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// What makes ids of one piece of text. Immutable; any thread may use it.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  /// Appends the ids of a piece, which must be UTF-8. Returns the steps taken, a measure of work for tests.
  /// Errors: kBadData for a character that has no token, where the file says that this is an error.
  virtual std::size_t encode(std::string_view piece, std::vector<TokenId>& out) const = 0;
};

}  // namespace llm_tp

#include <algorithm>
#include <limits>

#include "decoding/processors.h"

namespace llm_tp {
namespace {

Adjustment forbid(TokenId id) { return {id, Adjustment::Op::kSet, -std::numeric_limits<float>::infinity()}; }

}  // namespace

void append_no_repeat_ngram(std::int32_t n, std::span<const TokenId> tokens, std::vector<Adjustment>& out) {
  const auto size = static_cast<std::size_t>(n);
  if (tokens.size() < size) return;
  const std::span<const TokenId> last = tokens.last(size - 1);
  for (std::size_t i = 0; i + size <= tokens.size(); ++i)
    if (std::equal(last.begin(), last.end(), tokens.begin() + static_cast<std::ptrdiff_t>(i)))
      out.push_back(forbid(tokens[i + size - 1]));
}

void append_bad_words(std::span<const std::vector<TokenId>> words, std::span<const TokenId> end_ids,
                      std::span<const TokenId> tokens, std::vector<Adjustment>& out) {
  for (const std::vector<TokenId>& word : words) {
    if (word.size() == 1) {
      if (std::find(end_ids.begin(), end_ids.end(), word[0]) == end_ids.end()) out.push_back(forbid(word[0]));
      continue;
    }
    if (word.size() > tokens.size()) continue;
    if (std::equal(word.begin(), word.end() - 1, tokens.end() - static_cast<std::ptrdiff_t>(word.size() - 1)))
      out.push_back(forbid(word.back()));
  }
}

void append_forbidden(std::span<const TokenId> ids, std::vector<Adjustment>& out) {
  for (TokenId id : ids) out.push_back(forbid(id));
}

}  // namespace llm_tp

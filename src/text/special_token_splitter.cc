#include "text/special_token_splitter.h"

#include <algorithm>
#include <utility>

#include "text/unicode_forms.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

bool borders_on_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 &&
      is_word_character(utf8_step(text, start_of_last_code_point(text.substr(0, begin))).code_point))
    return true;
  return end < text.size() && is_word_character(utf8_step(text, end).code_point);
}

}  // namespace

SpecialTokenSplitter::SpecialTokenSplitter(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.text.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.text < b.text; });
  first_.assign(257, tokens_.size());
  for (std::size_t i = tokens_.size(); i-- > 0;) first_[static_cast<unsigned char>(tokens_[i].text[0])] = i;
  for (std::size_t byte = 256; byte-- > 0;) first_[byte] = std::min(first_[byte], first_[byte + 1]);
}

const AddedToken* SpecialTokenSplitter::longest_at(std::string_view text, std::size_t at) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  std::size_t begin = first_[byte], end = first_[byte + 1u];
  const AddedToken* best = nullptr;
  // Narrows the run of tokens that agree with the text so far; the ones that end here stand first in it.
  for (std::size_t depth = 1; begin < end; ++depth) {
    while (begin < end && tokens_[begin].text.size() == depth) best = &tokens_[begin++];
    if (begin == end || at + depth >= text.size()) break;
    const auto next = static_cast<unsigned char>(text[at + depth]);
    const auto by_byte = [depth](const AddedToken& token) {
      return static_cast<unsigned char>(token.text[depth]);
    };
    const auto from = tokens_.begin() + static_cast<std::ptrdiff_t>(begin),
               to = tokens_.begin() + static_cast<std::ptrdiff_t>(end);
    const auto low =
        std::partition_point(from, to, [&](const AddedToken& token) { return by_byte(token) < next; });
    const auto high =
        std::partition_point(low, to, [&](const AddedToken& token) { return by_byte(token) == next; });
    begin = static_cast<std::size_t>(low - tokens_.begin());
    end = static_cast<std::size_t>(high - tokens_.begin());
  }
  return best;
}

void SpecialTokenSplitter::split(std::string_view text, bool parse_special,
                                 const std::function<void(std::string_view)>& on_text,
                                 const std::function<void(const AddedToken&)>& on_token) const {
  std::size_t run = 0;  // start of the text that belongs to no token yet
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const AddedToken* token = longest_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    const std::size_t begin = at, end = at + token->text.size();
    at = end;  // whether it counts or not, no other token starts inside it
    if (token->special && !parse_special) continue;
    if (token->single_word && borders_on_word(text, begin, end)) continue;
    // Inside the spaces that a token before has taken further tokens are found, but no text.
    std::size_t run_end = begin;
    if (token->strip_left && begin > run) run_end -= trailing_space_bytes(text.substr(run, begin - run));
    if (run_end > run) on_text(text.substr(run, run_end - run));
    on_token(*token);
    run = end;
    if (token->strip_right) run += leading_space_bytes(text.substr(end));
  }
  if (run < text.size()) on_text(text.substr(run));
}

}  // namespace llm_tp

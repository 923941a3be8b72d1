#include "text/vocabulary_tokenizer.h"

#include <utility>

#include "text/utf8.h"

namespace llm_tp {

VocabularyTokenizer::VocabularyTokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  ids_.reserve(vocabulary_.tokens.size());
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
    const std::string& text = vocabulary_.tokens[id].text;
    if (!text.empty()) ids_.emplace(text, static_cast<TokenId>(id));
  }
}

std::vector<TokenId> VocabularyTokenizer::encode(std::string_view text, bool add_special,
                                                 bool parse_special) const {
  require_utf8(text);
  std::vector<TokenId> ids;
  if (add_special) ids = vocabulary_.prefix;
  encode_text(text, parse_special, ids);
  if (add_special) ids.insert(ids.end(), vocabulary_.suffix.begin(), vocabulary_.suffix.end());
  return ids;
}

std::string VocabularyTokenizer::piece(TokenId id, bool special) const {
  if (id < 0 || id >= vocabulary_size()) return "";
  const Vocabulary::Token& token = vocabulary_.tokens[static_cast<std::size_t>(id)];
  return token.special && !special ? "" : token.bytes;
}

std::string VocabularyTokenizer::first_piece(TokenId id, bool special) const {
  std::string part = piece(id, special);
  switch (vocabulary_.leading_spaces) {
    case Vocabulary::LeadingSpaces::kKept:
      break;
    case Vocabulary::LeadingSpaces::kOneTaken:
      if (part.starts_with(' ')) part.erase(0, 1);
      break;
    case Vocabulary::LeadingSpaces::kTakenFromFirstToken:
      // A space that the token's text has is its own.
      if (!part.empty() &&
          vocabulary_.tokens[static_cast<std::size_t>(id)].text.find(' ') == std::string::npos)
        std::erase(part, ' ');
      break;
  }
  return part;
}

std::string VocabularyTokenizer::decode(const std::vector<TokenId>& ids, bool special) const {
  std::string bytes;
  bool first = true;
  for (const TokenId id : ids) {
    const std::string part = piece(id, special);
    if (part.empty()) continue;
    bytes += std::exchange(first, false) ? first_piece(id, special) : part;
  }
  return repaired_utf8(std::move(bytes));
}

std::optional<TokenId> VocabularyTokenizer::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace llm_tp

#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace llm_tp {

/// What every kind of tokenizer knows about its tokens.
struct Vocabulary {
  /// What becomes of spaces at the start of a decoded text: encode may have put one there.
  enum class LeadingSpaces { kKept, kOneTaken, kTakenFromFirstToken };
  struct Token {
    std::string text;      // as the file writes it
    std::string bytes;     // what it stands for
    bool special = false;  // control tokens: no text unless asked for
  };
  std::vector<Token> tokens;            // by id; ids without a token have empty texts
  std::vector<TokenId> prefix, suffix;  // added around a text where add_special
  std::optional<TokenId> begin;
  std::vector<TokenId> ends;
  std::optional<std::string> chat_template;
  LeadingSpaces leading_spaces = LeadingSpaces::kKept;
};

/// The half of a tokenizer that is the same for all of them: ids back to text, begin and end ids. Ids that
/// the vocabulary does not hold have no text (a model's vocabulary is often padded), as in Hugging Face's
/// tokenizers.
class VocabularyTokenizer : public Tokenizer {
 public:
  explicit VocabularyTokenizer(Vocabulary vocabulary);
  int vocabulary_size() const override { return static_cast<int>(vocabulary_.tokens.size()); }
  std::vector<TokenId> encode(std::string_view text, bool add_special, bool parse_special) const override;
  std::string piece(TokenId id, bool special) const override;
  std::string first_piece(TokenId id, bool special) const override;
  std::string decode(const std::vector<TokenId>& ids, bool special) const override;
  std::optional<TokenId> begin_id() const override { return vocabulary_.begin; }
  std::vector<TokenId> end_ids() const override { return vocabulary_.ends; }
  std::optional<TokenId> id_of(std::string_view token) const override;
  std::optional<std::string> chat_template() const override { return vocabulary_.chat_template; }

 protected:
  /// Appends the ids of a text that is known to be UTF-8.
  virtual void encode_text(std::string_view text, bool parse_special, std::vector<TokenId>& out) const = 0;
  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::unordered_map<std::string_view, TokenId> ids_;  // views of vocabulary_'s texts
};

}  // namespace llm_tp

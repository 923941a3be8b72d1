#include "text/bpe_tokenizer.h"

#include <deque>
#include <utility>

#include "text/byte_alphabet.h"

namespace llm_tp {
namespace {

BpeMerger make_merger(const BpeDescription& description) {
  BpeMerger::ByteIds bytes;
  std::unordered_map<std::string_view, TokenId> ids;
  const auto& tokens = description.vocabulary.tokens;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].special) ids.emplace(tokens[id].text, static_cast<TokenId>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = alphabet_of_bytes(std::string(1, static_cast<char>(byte)));
    const auto found = ids.find(text);
    bytes[static_cast<std::size_t>(byte)] = found == ids.end() ? description.unknown : found->second;
  }
  return BpeMerger(bytes, description.merges);
}

/// Added tokens of one of the two passes; those looked for in normalised text are normalised themselves.
SpecialTokenSplitter make_splitter(const BpeDescription& description, bool normalised) {
  std::vector<AddedToken> chosen;
  for (const AddedToken& token : description.added_tokens) {
    if (token.normalized != normalised) continue;
    chosen.push_back(token);
    for (const UnicodeForm form : description.normalisers) {
      if (normalised) chosen.back().text = normalise_unicode(chosen.back().text, form);
    }
  }
  return SpecialTokenSplitter(std::move(chosen));
}

}  // namespace

BpeTokenizer::BpeTokenizer(BpeDescription description)
    : VocabularyTokenizer(description.vocabulary),
      raw_tokens_(make_splitter(description, false)),
      normalised_tokens_(make_splitter(description, true)),
      normalisers_(std::move(description.normalisers)),
      pre_tokenizers_(std::move(description.pre_tokenizers)),
      merger_(make_merger(description)) {
  if (!description.ignore_merges) return;
  const auto& tokens = vocabulary().tokens;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].special && !tokens[id].bytes.empty())
      whole_pieces_.emplace(tokens[id].bytes, static_cast<TokenId>(id));
  }
}

void BpeTokenizer::encode_text(std::string_view text, bool parse_special, std::vector<TokenId>& out) const {
  const auto take_token = [&](const AddedToken& token) { out.push_back(token.id); };
  const auto take_raw = [&](std::string_view raw) {
    std::string changed;
    std::string_view normal = raw;
    for (const UnicodeForm form : normalisers_) {
      changed = normalise_unicode(normal, form);
      normal = changed;
    }
    normalised_tokens_.split(
        normal, parse_special, [&](std::string_view plain) { encode_plain(plain, out); }, take_token);
  };
  raw_tokens_.split(text, parse_special, take_raw, take_token);
}

void BpeTokenizer::encode_plain(std::string_view text, std::vector<TokenId>& out) const {
  std::deque<std::string> owned;  // pieces that a space was put before
  std::vector<std::string_view> pieces{text}, next;
  for (const BpeDescription::PreTokenizer& step : pre_tokenizers_) {
    next.clear();
    for (const std::string_view piece : pieces) {
      if (const auto* splitter = std::get_if<RegexSplitter>(&step)) {
        splitter->split(piece, next);
      } else if (piece.front() == ' ') {
        next.push_back(piece);
      } else {
        next.push_back(owned.emplace_back(1, ' ').append(piece));
      }
    }
    pieces.swap(next);
  }
  for (const std::string_view piece : pieces) {
    if (!whole_pieces_.empty()) {
      const auto whole = whole_pieces_.find(std::string(piece));
      if (whole != whole_pieces_.end()) {
        out.push_back(whole->second);
        continue;
      }
    }
    merger_.encode(piece, out);
  }
}

}  // namespace llm_tp

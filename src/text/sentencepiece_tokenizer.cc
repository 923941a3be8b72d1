#include "text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "text/byte_tokens.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_files.h"

namespace llm_tp {
namespace {

using DummyPrefix = SentencePieceDescription::DummyPrefix;
using Piece = SentencePieceModel::Piece;
using Type = SentencePieceModel::Type;

std::string bytes_of(const Piece& piece) {
  if (const auto byte = byte_of_token(piece.text); byte && piece.type == Type::kByte)
    return std::string(1, static_cast<char>(*byte));
  if (piece.type != Type::kNormal && piece.type != Type::kUserDefined && piece.type != Type::kUnused)
    return piece.text;
  std::string bytes;
  static constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581 stands for a space
  for (std::size_t at = 0; at < piece.text.size();) {
    const bool space = piece.text.compare(at, kSpace.size(), kSpace) == 0;
    bytes += space ? ' ' : piece.text[at];
    at += space ? kSpace.size() : 1;
  }
  return bytes;
}

/// Tokens and added tokens of a list of pieces.
void describe_pieces(const std::vector<Piece>& pieces, SentencePieceDescription& description) {
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const Piece& piece = pieces[id];
    const bool control = piece.type == Type::kControl || piece.type == Type::kUnknown;
    description.vocabulary.tokens.push_back({piece.text, bytes_of(piece), control});
    if (piece.type == Type::kUnknown) description.unknown = static_cast<TokenId>(id);
    if (!control && piece.type != Type::kUserDefined) continue;
    AddedToken token;
    token.text = control ? piece.text : description.vocabulary.tokens.back().bytes;
    token.id = static_cast<TokenId>(id);
    token.special = control;
    description.added_tokens.push_back(std::move(token));
  }
}

/// Makes the pieces of a GGUF file such that the library takes them: it wants each text once, none empty, one
/// unknown piece, and byte pieces all or none.
void make_acceptable(std::vector<Piece>& pieces) {
  std::unordered_set<std::string> seen;
  std::array<bool, 256> bytes{};
  bool unknown = false;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    Piece& piece = pieces[id];
    if (piece.type == Type::kUnknown && std::exchange(unknown, true)) piece.type = Type::kControl;
    if (piece.type == Type::kByte && (!byte_of_token(piece.text) || seen.count(piece.text) != 0))
      piece.type = Type::kUnused;
    if (piece.text.empty() || !seen.insert(piece.text).second) {
      piece.text =
          "\x01unused" + std::to_string(id);  // no text has this token: its type keeps it from being used
      piece.type = Type::kControl;
      seen.insert(piece.text);
    }
    if (piece.type == Type::kByte) bytes[*byte_of_token(piece.text)] = true;
  }
  if (!std::all_of(bytes.begin(), bytes.end(), [](bool there) { return there; })) {
    for (Piece& piece : pieces) {
      if (piece.type == Type::kByte) piece.type = Type::kUnused;
    }
  }
  if (!unknown) pieces.push_back({"\x01unknown", 0, Type::kUnknown});
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceDescription description)
    : VocabularyTokenizer(std::move(description.vocabulary)),
      splitter_(std::move(description.added_tokens)),
      dummy_prefix_(description.dummy_prefix),
      unknown_(description.unknown) {
  const auto status = processor_.LoadFromSerializedProto(description.model);
  if (!status.ok()) {
    throw Error(ExitCode::kBadData, "sentencepiece refuses the tokenizer's model: " + status.ToString() +
                                        "; fetch the file again");
  }
}

void SentencePieceTokenizer::encode_text(std::string_view text, bool parse_special,
                                         std::vector<TokenId>& out) const {
  bool at_start = true, after_token = false;
  std::vector<int> ids;
  const auto take_text = [&](std::string_view plain) {
    const bool prefix = (at_start && dummy_prefix_ != DummyPrefix::kNone) ||
                        (after_token && dummy_prefix_ == DummyPrefix::kTextStartAndAfterSpecial);
    at_start = after_token = false;
    std::string with_space;
    if (prefix) with_space.append(1, ' ').append(plain);
    const auto status = processor_.Encode(prefix ? std::string_view(with_space) : plain, &ids);
    LLM_TP_CHECK(status.ok(), "sentencepiece: " + status.ToString());
    for (const int id : ids) out.push_back(id < vocabulary_size() ? id : unknown_);
  };
  splitter_.split(text, parse_special, take_text, [&](const AddedToken& token) {
    at_start = false;
    after_token = true;
    out.push_back(token.id);
  });
}

std::unique_ptr<Tokenizer> tokenizer_from_sentencepiece(std::string_view model,
                                                        const TokenizerSettings& settings) {
  const SentencePieceModel parsed = parse_sentencepiece_model(model);
  SentencePieceDescription description;
  description.model = std::string(model);
  describe_pieces(parsed.pieces, description);
  // Special tokens are often user-defined pieces, which the library would find in text that must stay plain.
  std::vector<bool> special(parsed.pieces.size(), false);
  for (const AddedToken& token : settings.added_tokens) {
    const auto id = static_cast<std::size_t>(token.id);
    if (token.special && id < special.size() && parsed.pieces[id].type == Type::kUserDefined)
      special[id] = true;
  }
  if (std::find(special.begin(), special.end(), true) != special.end()) {
    description.model = with_control_pieces(model, special);
  }
  // A model that strips spaces puts its own prefix back afterwards; else the space is put here, where the
  // files want it.
  if (!parsed.remove_extra_whitespaces) {
    description.model += without_dummy_prefix();
    if (parsed.add_dummy_prefix && settings.add_prefix_space.value_or(true)) {
      description.dummy_prefix =
          settings.legacy.value_or(true) ? DummyPrefix::kTextStartAndAfterSpecial : DummyPrefix::kTextStart;
    }
  }
  Vocabulary& vocabulary = description.vocabulary;
  if (parsed.add_dummy_prefix && settings.add_prefix_space.value_or(true))
    vocabulary.leading_spaces = Vocabulary::LeadingSpaces::kOneTaken;
  const std::size_t most = 2 * vocabulary.tokens.size() + 65536;
  for (const AddedToken& token : settings.added_tokens) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= most) {
      throw Error(ExitCode::kBadData, "the added token \"" + token.text.substr(0, 100) + "\" has the id " +
                                          std::to_string(id) + " in a vocabulary of " +
                                          std::to_string(parsed.pieces.size()) +
                                          "; the tokenizer's files do not belong together");
    }
    if (vocabulary.tokens.size() <= id) vocabulary.tokens.resize(id + 1);
    vocabulary.tokens[id] = {token.text, token.text, token.special};
    std::erase_if(description.added_tokens, [&](const AddedToken& other) { return other.id == token.id; });
    description.added_tokens.push_back(token);
  }
  const auto id_of = [&](const std::optional<std::string>& text,
                         const char* otherwise) -> std::optional<TokenId> {
    const std::string wanted = text.value_or(otherwise);
    const auto found = std::find_if(vocabulary.tokens.begin(), vocabulary.tokens.end(),
                                    [&](const auto& t) { return t.text == wanted; });
    if (found == vocabulary.tokens.end()) return std::nullopt;
    return static_cast<TokenId>(found - vocabulary.tokens.begin());
  };
  vocabulary.begin = id_of(settings.bos, "<s>");
  const std::optional<TokenId> end = id_of(settings.eos, "</s>");
  if (end) vocabulary.ends.push_back(*end);
  if (settings.add_bos.value_or(true) && vocabulary.begin) vocabulary.prefix.push_back(*vocabulary.begin);
  if (settings.add_eos.value_or(false) && end) vocabulary.suffix.push_back(*end);
  vocabulary.chat_template = settings.chat_template;
  return std::make_unique<SentencePieceTokenizer>(std::move(description));
}

std::unique_ptr<Tokenizer> sentencepiece_from_gguf(GgufVocabulary source) {
  SentencePieceModel model;
  model.remove_extra_whitespaces = false;
  model.add_dummy_prefix = false;  // the tokenizer puts the space itself
  for (std::size_t id = 0; id < source.tokens.size(); ++id) {
    const int type = source.types.empty() ? 1 : source.types[id];
    if (type < 0 || type > 6) {
      throw Error(ExitCode::kBadData, "tokenizer.ggml.token_type[" + std::to_string(id) + "] is " +
                                          std::to_string(type) + ", 1 to 6 was wanted");
    }
    // 0 is "undefined" in old files.
    model.pieces.push_back({source.tokens[id], source.scores.empty() ? 0.0F : source.scores[id],
                            static_cast<Type>(std::max(type, 1))});
  }
  SentencePieceDescription description;
  description.unknown = source.unk.value_or(0);
  describe_pieces(model.pieces, description);
  make_acceptable(model.pieces);
  description.model = serialise_sentencepiece_model(model);
  if (source.add_space_prefix.value_or(true))
    description.dummy_prefix = DummyPrefix::kTextStartAndAfterSpecial;

  Vocabulary& vocabulary = description.vocabulary;
  if (source.add_space_prefix.value_or(true))
    vocabulary.leading_spaces = Vocabulary::LeadingSpaces::kOneTaken;
  vocabulary.begin = source.bos;
  if (source.eos) vocabulary.ends.push_back(*source.eos);
  if (source.eot && source.eot != source.eos) vocabulary.ends.push_back(*source.eot);
  if (source.add_bos.value_or(true) && source.bos) vocabulary.prefix.push_back(*source.bos);
  if (source.add_eos.value_or(false) && source.eos) vocabulary.suffix.push_back(*source.eos);
  vocabulary.chat_template = std::move(source.chat_template);
  return std::make_unique<SentencePieceTokenizer>(std::move(description));
}

}  // namespace llm_tp

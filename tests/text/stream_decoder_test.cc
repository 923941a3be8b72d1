#include "text/stream_decoder.h"

#include <gmock/gmock.h>

#include "text/utf8.h"

namespace llm_tp {
namespace {

/// Each id from 0 on stands for some bytes; one leading space is taken away.
class PieceTokenizer final : public Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  int vocabulary_size() const override { return static_cast<int>(pieces_.size()); }
  std::vector<TokenId> encode(std::string_view, bool, bool) const override { return {}; }
  std::string piece(TokenId id, bool) const override { return pieces_[static_cast<std::size_t>(id)]; }
  std::string first_piece(TokenId id, bool) const override {
    const std::string text = piece(id, false);
    return text.starts_with(' ') ? text.substr(1) : text;
  }
  std::string decode(const std::vector<TokenId>& ids, bool) const override {
    std::string bytes;
    for (const TokenId id : ids) bytes += piece(id, false);
    if (!bytes.empty() && bytes[0] == ' ') bytes.erase(0, 1);
    return repaired_utf8(bytes);
  }
  std::optional<TokenId> begin_id() const override { return std::nullopt; }
  std::vector<TokenId> end_ids() const override { return {}; }
  std::optional<TokenId> id_of(std::string_view) const override { return std::nullopt; }
  std::optional<std::string> chat_template() const override { return std::nullopt; }

 private:
  std::vector<std::string> pieces_;
};

/// Streams the pieces; checks that each part is whole UTF-8 and that the whole is what decode says.
std::string stream(const std::vector<std::string>& pieces) {
  const PieceTokenizer tokenizer(pieces);
  StreamDecoder decoder(tokenizer);
  std::vector<TokenId> ids;
  std::string text;
  for (std::size_t i = 0; i <= pieces.size(); ++i) {
    if (i < pieces.size()) ids.push_back(static_cast<TokenId>(i));
    const std::string part = i < pieces.size() ? decoder.push(ids.back()) : decoder.finish();
    EXPECT_EQ(first_invalid_utf8(part), std::nullopt);
    text += part;
  }
  EXPECT_EQ(text, tokenizer.decode(ids, false));
  return text;
}

TEST(StreamDecoder, EverySplitOfMultibyteTextComesOutWhole) {
  const std::string text = "  \xC3\xA9\xE4\xBD\xA0 \xF0\x9F\x98\x80.";
  for (std::size_t a = 0; a <= text.size(); ++a) {
    for (std::size_t b = a; b <= text.size(); ++b) {
      EXPECT_EQ(stream({text.substr(0, a), text.substr(a, b - a), text.substr(b)}), text.substr(1));
    }
  }
}

TEST(StreamDecoder, EverySplitOfBrokenTextIsRepairedAlike) {
  // A lone continuation, an overlong form, a surrogate, a cut code point before a letter, and one at the end.
  const std::string text = "a\x80\xC0\xAF\xED\xA0\x80\xF0\x9F\x98z\xE2\x82";
  const std::string whole = stream({text});
  EXPECT_EQ(whole.front(), 'a');
  for (std::size_t a = 0; a <= text.size(); ++a) {
    for (std::size_t b = a; b <= text.size(); ++b) {
      EXPECT_EQ(stream({text.substr(0, a), text.substr(a, b - a), text.substr(b)}), whole);
    }
  }
}

TEST(StreamDecoder, TextComesAsSoonAsItIsWhole) {
  const PieceTokenizer tokenizer({"a", "\xE4\xBD", "\xA0", "\xFF", "\xE4"});
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0), "a");
  EXPECT_EQ(decoder.push(1), "");
  EXPECT_EQ(decoder.push(2), "\xE4\xBD\xA0");
  EXPECT_EQ(decoder.push(3), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.push(4), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
}

TEST(StreamDecoder, ALeadingSpaceIsTakenAwayOnceAndOnlyAtTheStart) {
  EXPECT_EQ(stream({"", " ", " a", " b"}), " a b");
  EXPECT_EQ(stream({" \xE4", "\xBD\xA0"}), "\xE4\xBD\xA0");
}

TEST(Utf8, InvalidPartsBecomeOneReplacementEach) {
  EXPECT_EQ(repaired_utf8("\xF0\x9F\x98z"), "\xEF\xBF\xBDz");
  EXPECT_EQ(repaired_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(repaired_utf8("\xF5"), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace llm_tp

#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace llm_tp {
namespace {

bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> code_point{};
  std::array<int, 0x100 + 68> byte;  // of a code point; -1 outside the alphabet
  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const char32_t c = stands_for_itself(b) ? static_cast<char32_t>(b) : next++;
      code_point[static_cast<std::size_t>(b)] = c;
      byte[c] = b;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

char32_t byte_alphabet_code_point(std::uint8_t byte) noexcept { return alphabet().code_point[byte]; }

std::optional<std::string> bytes_of_alphabet(std::string_view text) {
  const Alphabet& known = alphabet();
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.kind != Utf8Step::Kind::kWhole || step.code_point >= known.byte.size()) return std::nullopt;
    const int byte = known.byte[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    at += static_cast<std::size_t>(step.bytes);
  }
  return bytes;
}

std::string alphabet_of_bytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, byte_alphabet_code_point(static_cast<std::uint8_t>(byte)));
  return text;
}

}  // namespace llm_tp

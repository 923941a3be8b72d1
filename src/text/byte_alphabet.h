#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// GPT-2's byte alphabet: every byte has one printable code point, so that byte-level vocabularies can be
/// written as text. Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up.
char32_t byte_alphabet_code_point(std::uint8_t byte) noexcept;
/// The bytes that a token's text stands for; nothing where a code point is outside the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view text);
std::string alphabet_of_bytes(std::string_view bytes);

}  // namespace llm_tp

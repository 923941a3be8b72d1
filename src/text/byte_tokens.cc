#include "text/byte_tokens.h"

namespace llm_tp {
namespace {

constexpr std::string_view kDigits = "0123456789ABCDEF";

}  // namespace

std::string text_of_byte_token(std::uint8_t byte) {
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

std::optional<std::uint8_t> byte_of_token(std::string_view text) noexcept {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const std::size_t high = kDigits.find(text[3]), low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<std::uint8_t>(high * 16 + low);
}

}  // namespace llm_tp

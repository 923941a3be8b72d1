#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// Tokens that stand for one byte are written "<0x0A>".
std::string text_of_byte_token(std::uint8_t byte);
/// Nothing for another text.
std::optional<std::uint8_t> byte_of_token(std::string_view text) noexcept;

}  // namespace llm_tp

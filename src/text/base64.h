#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// What a text of base64 (RFC 4648, padded) stands for; nothing for another text.
std::optional<std::string> bytes_of_base64(std::string_view text);

}  // namespace llm_tp

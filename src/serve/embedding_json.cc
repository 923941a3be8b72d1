#include "serve/embedding_json.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstdlib>

namespace llm_tp {
namespace {

/// The double that is printed with the float's digits: of 0.1f that is 0.1, and not 0.10000000149011612.
double with_few_digits(float value) {
  std::array<char, 32> text{};
  std::to_chars(text.data(), text.data() + text.size() - 1, value);
  return std::strtod(text.data(), nullptr);
}

}  // namespace

Json embedding_list(std::span<const float> embedding) {
  Json list = Json::array();
  for (float value : embedding) list.push_back(with_few_digits(value));
  return list;
}

std::string embedding_base64(std::span<const float> embedding) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  for (float value : embedding)
    for (const int shift : {0, 8, 16, 24})
      bytes += static_cast<char>(std::bit_cast<std::uint32_t>(value) >> shift & 0xFF);
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = i; k < i + 3; ++k)
      group = group << 8 | (k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

}  // namespace llm_tp

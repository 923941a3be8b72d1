#include "decoding/grammar/grammar.h"

#include <algorithm>
#include <array>

namespace llm_tp {
namespace {

constexpr char32_t kLast = 0x10FFFF;

struct Utf8 {
  std::array<unsigned, 4> bytes{};
  std::size_t length = 0;
};

Utf8 encode(char32_t c) {
  const auto low = [&](int shift) { return 0x80u | (static_cast<unsigned>(c >> shift) & 0x3Fu); };
  if (c < 0x80) return {{static_cast<unsigned>(c)}, 1};
  if (c < 0x800) return {{0xC0u | static_cast<unsigned>(c >> 6), low(0)}, 2};
  if (c < 0x10000) return {{0xE0u | static_cast<unsigned>(c >> 12), low(6), low(0)}, 3};
  return {{0xF0u | static_cast<unsigned>(c >> 18), low(12), low(6), low(0)}, 4};
}

}  // namespace

std::vector<Grammar::CodePoints> all_but(std::vector<Grammar::CodePoints> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Grammar::CodePoints> rest;
  char32_t next = 0;
  for (const auto& r : ranges) {
    if (r.first > next) rest.push_back({next, r.first - 1});
    next = std::max(next, static_cast<char32_t>(r.last + 1));
  }
  if (next <= kLast) rest.push_back({next, kLast});
  return rest;
}

Grammar::Node Grammar::text(std::string_view text) {
  std::vector<Node> children;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    children.push_back(byte_range(byte, byte));
  }
  return sequence(std::move(children));
}

Grammar::Node Grammar::repeat(Node child, std::int32_t least, std::int32_t most) {
  NodeData data{Kind::kRepeat};
  data.children = {child};
  data.least = least;
  data.most = most;
  return add(std::move(data));
}

Grammar::Node Grammar::reference(Rule rule) {
  NodeData data{Kind::kRule};
  data.rule = rule;
  return add(std::move(data));
}

Grammar::Rule Grammar::declare(std::string name) {
  names_.push_back(std::move(name));
  bodies_.push_back(-1);
  return static_cast<Rule>(bodies_.size()) - 1;
}

Grammar::Node Grammar::byte_range(unsigned first, unsigned last) {
  std::bitset<256> set;
  for (unsigned b = first; b <= last; ++b) set.set(b);
  return bytes(set);
}

/// Cuts every range where the length of the encoding changes and where its continuation bytes do not run from
/// 80 to BF, so that each piece is one byte range after the other.
Grammar::Node Grammar::code_points(std::vector<CodePoints> ranges) {
  std::vector<Node> pieces;
  std::bitset<256> ascii;
  const auto add_range = [&](auto&& self, char32_t first, char32_t last) -> void {
    if (first > last) return;
    for (const char32_t border : {char32_t{0x7F}, char32_t{0x7FF}, char32_t{0xFFFF}})
      if (first <= border && border < last) {
        self(self, first, border);
        return self(self, border + 1, last);
      }
    if (first <= 0xDFFF && last >= 0xD800) {  // surrogates have no encoding
      if (first < 0xD800) self(self, first, 0xD7FF);
      if (last > 0xDFFF) self(self, 0xE000, last);
      return;
    }
    if (last < 0x80) {
      for (char32_t c = first; c <= last; ++c) ascii.set(c);
      return;
    }
    for (int shift = 6; shift <= 18; shift += 6) {
      const char32_t mask = (char32_t{1} << shift) - 1;
      if ((first & ~mask) == (last & ~mask)) continue;
      if ((first & mask) != 0) {
        self(self, first, first | mask);
        return self(self, (first | mask) + 1, last);
      }
      if ((last & mask) != mask) {
        self(self, first, (last & ~mask) - 1);
        return self(self, last & ~mask, last);
      }
    }
    const Utf8 low = encode(first), high = encode(last);
    std::vector<Node> run;
    for (std::size_t i = 0; i < low.length; ++i) run.push_back(byte_range(low.bytes[i], high.bytes[i]));
    pieces.push_back(sequence(std::move(run)));
  };
  for (const CodePoints& r : ranges) add_range(add_range, r.first, std::min(r.last, kLast));
  if (ascii.any()) pieces.push_back(bytes(ascii));
  return alternatives(std::move(pieces));
}

}  // namespace llm_tp

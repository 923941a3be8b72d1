#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// A place in a file, both numbers from 1.
struct TextPosition {
  int line = 1, column = 1;
};

/// A YAML value with the place where it begins. Scalars keep the text as it was written; nobody guesses their
/// type.
struct YamlNode {
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  TextPosition position;
  std::string text;             // of a scalar
  bool quoted = false;          // "4" or a block text, which is never a number
  std::vector<YamlNode> keys;   // of a mapping, in order, duplicates included; key i has value items[i]
  std::vector<YamlNode> items;  // of a sequence or a mapping
};

inline constexpr std::size_t kMaxYamlBytes = std::size_t{1} << 20;
inline constexpr int kMaxYamlDepth = 8;  // the deepest valid file needs 3

/// "name:line:column"
std::string place_text(const std::string& name, TextPosition position);

/// Reads one YAML document; an empty one is kNull. `name` is the file's, for messages. Errors (kConfig, all
/// with name:line:column): syntax, control characters, anchors and aliases (so no cycles and no bombs), tags,
/// a second document, more than kMaxYamlBytes, deeper than kMaxYamlDepth.
YamlNode parse_yaml(std::string_view text, const std::string& name);

}  // namespace llm_tp

#pragma once
#include <bitset>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llm_tp {

/// A context-free grammar over bytes. Regular expressions, EBNF, JSON schemas and lists of texts all become
/// one.
class Grammar {
 public:
  using Node = std::int32_t;
  using Rule = std::int32_t;
  static constexpr std::int32_t kUnbounded = -1;
  struct CodePoints {
    char32_t first = 0, last = 0;
  };
  enum class Kind { kBytes, kSequence, kAlternatives, kRepeat, kRule };
  struct NodeData {
    Kind kind;
    std::bitset<256> bytes{};          // kBytes: any one of them
    std::vector<Node> children{};      // of sequences, alternatives, repeats (one)
    std::int32_t least = 0, most = 0;  // kRepeat; most kUnbounded: no end
    Rule rule = -1;
  };

  Node bytes(std::bitset<256> set) { return add({Kind::kBytes, set}); }
  /// The bytes of a text, one after the other.
  Node text(std::string_view text);
  Node sequence(std::vector<Node> children) { return add({Kind::kSequence, {}, std::move(children)}); }
  Node alternatives(std::vector<Node> children) {
    return add({Kind::kAlternatives, {}, std::move(children)});
  }
  Node nothing() { return sequence({}); }
  Node optional(Node child) { return repeat(child, 0, 1); }
  Node repeat(Node child, std::int32_t least, std::int32_t most);
  /// One code point of the ranges, in UTF-8; surrogates are left out. Ranges may overlap.
  Node code_points(std::vector<CodePoints> ranges);
  Node reference(Rule rule);

  /// A rule without a body yet; names are for messages.
  Rule declare(std::string name);
  void define(Rule rule, Node body) { bodies_[static_cast<std::size_t>(rule)] = body; }
  void set_start(Rule rule) noexcept { start_ = rule; }

  const NodeData& node(Node n) const { return nodes_[static_cast<std::size_t>(n)]; }
  Node body(Rule rule) const { return bodies_[static_cast<std::size_t>(rule)]; }
  const std::string& name(Rule rule) const { return names_[static_cast<std::size_t>(rule)]; }
  std::size_t rules() const noexcept { return bodies_.size(); }
  std::size_t nodes() const noexcept { return nodes_.size(); }
  Rule start() const noexcept { return start_; }

 private:
  Node add(NodeData data) {
    nodes_.push_back(std::move(data));
    return static_cast<Node>(nodes_.size()) - 1;
  }
  Node byte_range(unsigned first, unsigned last);

  std::vector<NodeData> nodes_;
  std::vector<Node> bodies_;
  std::vector<std::string> names_;
  Rule start_ = 0;
};

/// All code points that `ranges` do not hold.
std::vector<Grammar::CodePoints> all_but(std::vector<Grammar::CodePoints> ranges);

}  // namespace llm_tp

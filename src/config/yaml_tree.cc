#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

TextPosition position_of(const YAML::Mark& mark) {
  if (mark.is_null() || mark.line < 0 || mark.column < 0) return {};
  return {mark.line + 1, mark.column + 1};
}

/// Builds the tree from the parser's events. What a configuration has no use for ends the reading at once, so
/// that nothing a file says can make the tree larger than the file.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string name) : name_(std::move(name)) {}

  YamlNode take() { return std::move(root_); }
  int documents() const noexcept { return documents_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1)
      refuse(mark, "a second document begins here; a configuration is one, take the --- out");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    YamlNode node;
    node.position = position_of(mark);
    add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "found an alias (*name); write the value itself");
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { refuse_anchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    begin(mark, tag, anchor);
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.position = position_of(mark);
    node.text = value;
    node.quoted = tag == "!";
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& what) const {
    throw Error(ExitCode::kConfig, place_text(name_, position_of(mark)) + ": " + what);
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor)
      refuse(mark, "found an anchor (&name); write the value out where it is needed");
  }
  void begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    refuse_anchor(mark, anchor);
    // "?" stands for a plain value without a tag, "!" for a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark, "found a tag (!name); take it out, every key has its type");
  }
  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    begin(mark, tag, anchor);
    if (static_cast<int>(open_.size()) >= kMaxYamlDepth)
      refuse(mark, "lists and sections are nested deeper than " + std::to_string(kMaxYamlDepth) + " levels");
    YamlNode node;
    node.kind = kind;
    node.position = position_of(mark);
    open_.push_back({std::move(node), YamlNode{}, false});
  }
  void close() {
    LLM_TP_CHECK(!open_.empty(), "YAML events end what never began");
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }
  void add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      parent.key = std::move(node);
      parent.has_key = true;
    } else {
      parent.node.keys.push_back(std::move(parent.key));
      parent.node.items.push_back(std::move(node));
      parent.has_key = false;
    }
  }

  struct Open {
    YamlNode node;
    YamlNode key;  // of a mapping, waiting for its value
    bool has_key;
  };
  std::string name_;
  YamlNode root_;
  std::vector<Open> open_;
  int documents_ = 0;
};

/// yaml-cpp takes byte 4 for the end of the file and would drop the rest unseen; NUL means UTF-16 or no text
/// at all.
/// Returns the place after the last character.
TextPosition refuse_control_characters(std::string_view text, const std::string& name) {
  TextPosition at;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      ++at.line;
      at.column = 1;
      continue;
    }
    if ((byte < 0x20 && c != '\t' && c != '\r') || byte == 0x7F)
      throw Error(ExitCode::kConfig, place_text(name, at) + ": found a control character (byte " +
                                         std::to_string(byte) + "); save the file as plain UTF-8 text");
    if ((byte & 0xC0) != 0x80) ++at.column;
  }
  return at;
}

}  // namespace

std::string place_text(const std::string& name, TextPosition position) {
  return name + ":" + std::to_string(position.line) + ":" + std::to_string(position.column);
}

YamlNode parse_yaml(std::string_view text, const std::string& name) {
  if (text.size() > kMaxYamlBytes)
    throw Error(ExitCode::kConfig,
                place_text(name, {}) + ": the file is larger than 1 MiB; is it a configuration?");
  const TextPosition end = refuse_control_characters(text, name);
  TreeBuilder builder(name);
  try {
    // yaml-cpp takes a quote that is never closed where the file ends with a line. Inside one, this last line
    // without an end is refused; anywhere else it is a comment.
    std::istringstream stream{std::string(text) + "\n# end"};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& failure) {
    TextPosition at = position_of(failure.mark);
    if (at.line > end.line) at = end;
    throw Error(ExitCode::kConfig, place_text(name, at) + ": not YAML: " + failure.msg);
  }
  return builder.take();
}

}  // namespace llm_tp

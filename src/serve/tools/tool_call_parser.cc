#include "serve/tools/tool_call_parser.h"

#include <algorithm>
#include <utility>

namespace llm_tp {
namespace {

constexpr std::string_view kHermesEnd = "</tool_call>", kArgumentsMark = "[ARGS]", kIdMark = "[CALL_ID]";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

}  // namespace

ToolCallParser::ToolCallParser(ToolStyle style, const std::vector<Tool>& tools)
    : style_(style), tools_(tools), marker_(tool_marker(style)) {}

ReplyDelta ToolCallParser::push(std::string_view text) {
  for (const char byte : text) take(byte);
  return std::exchange(delta_, {});
}

ReplyDelta ToolCallParser::finish() {
  const bool between_items = (at_ == At::kFirstItem || at_ == At::kNextItem) && calls_ > 0 && !plain_;
  if (at_ == At::kText) {
    for (const char byte : std::exchange(pending_, {})) pass(byte);
    if (plain_ || calls_ == 0) delta_.content += blanks_;
  } else if (!in_call_ && at_ != At::kClose && !between_items) {
    delta_.content += held_;
  }
  return std::exchange(delta_, {});
}

void ToolCallParser::take(char byte) {
  switch (at_) {
    case At::kText:
      return in_text(byte);
    case At::kOpen:
      return in_open(byte);
    case At::kObject:
      return in_object(byte);
    case At::kFirstItem:
    case At::kNextItem:
      return in_list(byte);
    case At::kName:
    case At::kId:
      return in_name(byte);
    case At::kMark:
      return in_mark(byte);
    case At::kBareArguments:
      return in_bare_arguments(byte);
    case At::kClose:
      return in_close(byte);
  }
}

void ToolCallParser::pass(char byte) {
  // llama3 puts a semicolon or a comma between calls.
  const bool between_calls =
      style_ == ToolStyle::kLlama3 && calls_ > 0 && !plain_ && (byte == ';' || byte == ',');
  if (is_blank(byte) || between_calls) {
    blanks_ += byte;
    return;
  }
  delta_.content += std::exchange(blanks_, {}) + byte;
  plain_ = true;
}

void ToolCallParser::in_text(char byte) {
  if (style_ == ToolStyle::kLlama3 && byte == '{' && !plain_ && pending_.empty()) {
    held_ = std::exchange(blanks_, {});
    marked_ = false;
    return begin_object(byte);
  }
  pending_ += byte;
  while (!marker_.starts_with(pending_)) {
    pass(pending_.front());
    pending_.erase(0, 1);
  }
  if (pending_ != marker_) return;
  held_ = std::exchange(blanks_, {}) + std::exchange(pending_, {});
  marked_ = true;
  at_ = At::kOpen;
}

void ToolCallParser::begin_object(char byte) {
  object_ = {};
  told_ = 0;
  at_ = At::kObject;
  in_object(byte);
}

/// Everything that was held is content, and the byte that showed it begins anew.
void ToolCallParser::no_call(char byte) {
  if (!held_.empty()) plain_ = true;
  delta_.content += std::exchange(held_, {});
  id_.clear();
  in_call_ = in_list_ = false;
  at_ = At::kText;
  in_text(byte);
}

void ToolCallParser::in_open(char byte) {
  if (byte == '{') return begin_object(byte);
  const bool mistral = style_ == ToolStyle::kMistralList || style_ == ToolStyle::kMistralNamed;
  if (mistral && is_word(byte)) {
    name_.clear();
    at_ = At::kName;
    return in_name(byte);
  }
  if (mistral && byte == '[') {
    in_list_ = true;
    at_ = At::kFirstItem;
  } else if (!is_blank(byte)) {
    return no_call(byte);
  }
  held_ += byte;
}

void ToolCallParser::in_list(char byte) {
  if (byte == '{' && at_ == At::kFirstItem) return begin_object(byte);
  if (at_ == At::kNextItem && byte == ']') {
    in_list_ = false;
    held_.clear();
    at_ = At::kText;
    return;
  }
  if (at_ == At::kNextItem && byte == ',')
    at_ = At::kFirstItem;
  else if (!is_blank(byte))
    return no_call(byte);
  held_ += byte;
}

bool ToolCallParser::knows(std::string_view name) const {
  return std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
}

void ToolCallParser::begin_call(const std::string& name) {
  held_.clear();
  in_call_ = true;
  plain_ = false;
  delta_.calls.push_back({calls_++, name, id_, {}});
  id_.clear();
}

void ToolCallParser::add_arguments(std::string_view more) {
  if (more.empty()) return;
  if (delta_.calls.empty()) delta_.calls.push_back({calls_ - 1, {}, {}, {}});
  delta_.calls.back().arguments += more;
}

void ToolCallParser::end_call() {
  in_call_ = false;
  at_ = in_list_ ? At::kNextItem : style_ == ToolStyle::kHermes ? At::kClose : At::kText;
  mark_.clear();
}

void ToolCallParser::in_object(char byte) {
  const JsonScanner::Step step = object_.push(byte);
  if (step == JsonScanner::Step::kBroken) {
    if (!in_call_) return no_call(byte);
    // Models forget the last brace: the arguments are whole all the same.
    end_call();
    if (!object_.arguments_are_whole()) in_list_ = false, at_ = At::kText;
    return take(byte);
  }
  if (!in_call_) held_ += byte;
  const bool whole = step == JsonScanner::Step::kWhole;
  // Without a marker an object that has no arguments is an answer in JSON.
  const bool is_call = !object_.arguments().empty() || (whole && marked_);
  if (!in_call_ && is_call && object_.name() && knows(*object_.name())) begin_call(*object_.name());
  if (in_call_) {
    add_arguments(std::string_view(object_.arguments()).substr(told_));
    told_ = object_.arguments().size();
  }
  if (!whole) return;
  if (!in_call_) {
    in_list_ = false;
    plain_ = true;
    delta_.content += std::exchange(held_, {});
    at_ = At::kText;
    return;
  }
  if (object_.arguments().empty()) add_arguments("{}");
  end_call();
}

void ToolCallParser::in_name(char byte) {
  if (byte == '[') {
    mark_ = byte;
    held_ += byte;
    at_ = At::kMark;
  } else if (is_word(byte)) {
    (at_ == At::kName ? name_ : id_) += byte;
    held_ += byte;
  } else if (byte == '{' && at_ == At::kName) {  // some leave [ARGS] out
    begin_bare_arguments(byte);
  } else {
    no_call(byte);
  }
}

void ToolCallParser::in_mark(char byte) {
  if (mark_ == kArgumentsMark) {
    if (byte == '{') return begin_bare_arguments(byte);
    if (!is_blank(byte)) return no_call(byte);
    held_ += byte;
    return;
  }
  mark_ += byte;
  const bool id_may_come = id_.empty();
  if (!kArgumentsMark.starts_with(mark_) && !(id_may_come && kIdMark.starts_with(mark_)))
    return no_call(byte);
  held_ += byte;
  if (mark_ == kIdMark) at_ = At::kId;
}

void ToolCallParser::begin_bare_arguments(char byte) {
  if (!knows(name_)) return no_call(byte);
  bare_ = {};
  at_ = At::kBareArguments;
  begin_call(name_);
  in_bare_arguments(byte);
}

void ToolCallParser::in_bare_arguments(char byte) {
  const JsonScanner::Step step = bare_.push(byte);
  if (step == JsonScanner::Step::kBroken) {
    end_call();
    at_ = At::kText;
    return in_text(byte);
  }
  add_arguments({&byte, 1});
  if (step == JsonScanner::Step::kWhole) end_call();
}

void ToolCallParser::in_close(char byte) {
  if (mark_.empty() && is_blank(byte)) {
    blanks_ += byte;
    return;
  }
  mark_ += byte;
  if (mark_ == kHermesEnd) {
    blanks_.clear();
    at_ = At::kText;
  } else if (!kHermesEnd.starts_with(mark_)) {
    at_ = At::kText;
    for (const char passed : std::exchange(mark_, {})) take(passed);
  }
}

}  // namespace llm_tp

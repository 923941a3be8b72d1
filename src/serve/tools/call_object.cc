#include "serve/tools/call_object.h"

#include <utility>

#include "serve/json_text.h"

namespace llm_tp {

using Part = JsonScanner::Part;
using Step = JsonScanner::Step;

JsonScanner::Step CallObject::push(char byte) {
  const Step step = scanner_.push(byte);
  if (step == Step::kBroken) return step;
  const Part before = std::exchange(part_, scanner_.part());
  if (before == Part::kValue && part_ != Part::kValue && !end_value()) return Step::kBroken;
  if (part_ == Part::kKey) {
    if (before != Part::kKey) key_.clear();
    key_ += byte;
  } else if (part_ == Part::kValue) {
    if (before != Part::kValue && !begin_value(byte)) return Step::kBroken;
    if (member_ == Member::kArguments)
      arguments_ += byte;
    else
      text_ += byte;
  }
  return step;
}

bool CallObject::begin_value(char first) {
  const Json key = Json::parse(key_, nullptr, false);
  text_.clear();
  if (key == "name") {
    member_ = Member::kName;
    return !name_ && first == '"';
  }
  if (key == "arguments" || key == "parameters") {
    // The text of an object is taken for it once it is whole.
    member_ = first == '{' ? Member::kArguments : Member::kArgumentsText;
    return arguments_.empty() && (first == '{' || first == '"');
  }
  member_ = Member::kOther;
  return key == "id" || key == "type";
}

bool CallObject::end_value() {
  if (member_ == Member::kArguments) arguments_are_whole_ = true;
  if (member_ != Member::kName && member_ != Member::kArgumentsText) return true;
  const Json value = Json::parse(text_, nullptr, false);
  if (!value.is_string()) return false;
  if (member_ == Member::kName) {
    name_ = value.get<std::string>();
    return true;
  }
  arguments_ = value.get<std::string>();
  arguments_are_whole_ = Json::parse(arguments_, nullptr, false).is_object();
  return arguments_are_whole_;
}

}  // namespace llm_tp

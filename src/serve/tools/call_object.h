#pragma once
#include <optional>
#include <string>

#include "serve/tools/json_scanner.h"

namespace llm_tp {

/// A function call as models write it: {"name": …, "arguments": {…}}, with "parameters" as another name for
/// the arguments, "id" and "type" beside them, in any order. Read one byte at a time.
class CallObject {
 public:
  /// kBroken: no JSON, another key, a key that comes twice, a name that is no text, arguments that are
  /// neither an object nor the text of one.
  JsonScanner::Step push(char byte);
  const std::optional<std::string>& name() const noexcept { return name_; }
  /// The arguments' JSON as far as it came, byte for byte. Empty: none yet.
  const std::string& arguments() const noexcept { return arguments_; }
  bool arguments_are_whole() const noexcept { return arguments_are_whole_; }

 private:
  bool begin_value(char first);
  bool end_value();

  JsonScanner scanner_;
  JsonScanner::Part part_ = JsonScanner::Part::kBetween;
  enum class Member { kName, kArguments, kArgumentsText, kOther } member_ = Member::kOther;
  std::string key_, text_;  // JSON of the last key; of a value that counts only once it is whole
  std::optional<std::string> name_;
  std::string arguments_;
  bool arguments_are_whole_ = false;
};

}  // namespace llm_tp

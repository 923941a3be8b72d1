#pragma once
#include <string>

#include "text/jinja/value.h"

namespace llm_tp::jinja {

/// Reads the arguments of a call in the order of its parameters, by position or by name.
class ArgumentReader {
 public:
  /// `function` stands in messages; both are borrowed.
  ArgumentReader(const char* function, const Arguments& arguments)
      : function_(function), arguments_(arguments) {}
  /// The next parameter's argument; null where it was left out.
  const Value* optional(const char* name);
  const Value& required(const char* name);
  /// Errors: Failure for arguments that no parameter took.
  void finish() const;

 private:
  const char* function_;
  const Arguments& arguments_;
  std::size_t parameters_ = 0, named_taken_ = 0;
};

}  // namespace llm_tp::jinja

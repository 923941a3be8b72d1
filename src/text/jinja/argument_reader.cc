#include "text/jinja/argument_reader.h"

namespace llm_tp::jinja {

const Value* ArgumentReader::optional(const char* name) {
  const std::size_t place = parameters_++;
  const Value* found = place < arguments_.positional.size() ? &arguments_.positional[place] : nullptr;
  for (const auto& [key, value] : arguments_.named) {
    if (key != name) continue;
    if (found) throw Failure(std::string(function_) + "() got '" + name + "' twice");
    found = &value;
    ++named_taken_;
  }
  return found;
}

const Value& ArgumentReader::required(const char* name) {
  const Value* found = optional(name);
  if (!found) throw Failure(std::string(function_) + "() needs '" + name + "'");
  return *found;
}

void ArgumentReader::finish() const {
  if (arguments_.positional.size() > parameters_)
    throw Failure(std::string(function_) + "() takes at most " + std::to_string(parameters_) +
                  " arguments, " + std::to_string(arguments_.positional.size()) + " given");
  if (arguments_.named.size() > named_taken_)
    throw Failure(std::string(function_) + "() has an argument that is not supported");
}

}  // namespace llm_tp::jinja

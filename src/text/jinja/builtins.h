#pragma once
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace llm_tp::jinja {

class Interpreter;

/// What templates find without defining it, with Jinja2's semantics (docs of version 3.1, "List of Builtin
/// Filters" and "Tests"; tojson, raise_exception and strftime_now as transformers defines them). All fail
/// with Failure.
using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);

/// What stands after `is`: about the value alone, or about it and one argument.
class Test {
 public:
  Test(bool (*of_one)(const Value&)) : of_one_(of_one) {}
  Test(bool (*of_two)(const Value&, const Value&)) : of_two_(of_two) {}
  bool operator()(const Value& value, const Arguments& arguments) const;

 private:
  bool (*of_one_)(const Value&) = nullptr;
  bool (*of_two_)(const Value&, const Value&) = nullptr;
};

/// Null where the subset has none of that name.
Filter find_filter(std::string_view name);
/// Whether the filter makes a value of each code point of a text.
bool splits_texts(std::string_view filter);
const Test* find_test(std::string_view name);
/// Undefined where there is none. range, dict, namespace, raise_exception, strftime_now.
Value find_global(const std::string& name);
/// A method of a string, list or dict, bound; Undefined where Python has none of that name.
Value find_method(const Value& object, const std::string& name);

/// + - * / // % ** of Python.
Value binary(const std::string& operation, const Value& left, const Value& right);
Value negated(const Value& value);
/// object.name and object[index], as Jinja2 looks them up: Undefined where there is nothing.
Value attribute_of(const Value& object, const std::string& name);
Value item_of(const Value& object, const Value& index);
/// object[begin:end:step]; null where left out.
Value slice_of(const Value& object, const Value* begin, const Value* end, const Value* step);

}  // namespace llm_tp::jinja

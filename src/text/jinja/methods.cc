#include <algorithm>
#include <map>
#include <set>

#include "text/jinja/argument_reader.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace llm_tp::jinja {
namespace {

using Method = Value (*)(const Value& object, const Arguments& arguments);
using Methods = std::map<std::string, Method, std::less<>>;

Value texts(std::vector<std::string> parts) {
  std::vector<Value> items;
  for (std::string& part : parts) items.emplace_back(std::move(part));
  return make_list(std::move(items));
}

std::int64_t count_of(const Value* value) { return value ? value->integer("a count") : -1; }

/// A string argument that may be None or left out; null then.
const std::string* optional_text(const Value* value) {
  return value && !value->is_none() ? &value->require_text("an argument") : nullptr;
}

template <bool left, bool right>
Value strip(const Value& object, const Arguments& arguments) {
  ArgumentReader read("strip", arguments);
  const std::string* characters = optional_text(read.optional("chars"));
  read.finish();
  return stripped(object.text(), characters, left, right);
}

template <std::string (*convert)(std::string_view)>
Value converted(const Value& object, const Arguments& arguments) {
  ArgumentReader("a method without parameters", arguments).finish();
  return convert(object.text());
}

template <std::vector<std::string> (*cut)(std::string_view, const std::string*, std::int64_t)>
Value split_by(const Value& object, const Arguments& arguments) {
  ArgumentReader read("split", arguments);
  const std::string* separator = optional_text(read.optional("sep"));
  const std::int64_t count = count_of(read.optional("maxsplit"));
  read.finish();
  return texts(cut(object.text(), separator, count));
}

Value lines(const Value& object, const Arguments& arguments) {
  ArgumentReader read("splitlines", arguments);
  const Value* keep_ends = read.optional("keepends");
  read.finish();
  return texts(split_lines(object.text(), keep_ends && keep_ends->truth()));
}

/// startswith and endswith: a string, or a tuple of which one is enough.
template <bool at_start>
Value has_affix(const Value& object, const Arguments& arguments) {
  ArgumentReader read(at_start ? "startswith" : "endswith", arguments);
  const Value& affix = read.required("prefix");
  read.finish();
  const std::string_view text = object.text();
  const auto fits = [text](const Value& candidate) {
    const std::string& wanted = candidate.require_text("a prefix or suffix");
    if (wanted.size() > text.size()) return false;
    return (at_start ? text.substr(0, wanted.size()) : text.substr(text.size() - wanted.size())) == wanted;
  };
  const Sequence* several = affix.sequence();
  if (several && several->kind == Sequence::Kind::kTuple)
    return std::any_of(several->items.begin(), several->items.end(), fits);
  return fits(affix);
}

template <bool at_start>
Value without_affix(const Value& object, const Arguments& arguments) {
  ArgumentReader read(at_start ? "removeprefix" : "removesuffix", arguments);
  const std::string& affix = read.required("affix").require_text("a prefix or suffix");
  read.finish();
  const std::string_view text = object.text();
  if (affix.size() > text.size()) return object;
  if (at_start) return text.substr(0, affix.size()) == affix ? Value(text.substr(affix.size())) : object;
  const std::string_view rest = text.substr(0, text.size() - affix.size());
  return text.substr(rest.size()) == affix ? Value(rest) : object;
}

Value replace(const Value& object, const Arguments& arguments) {
  ArgumentReader read("replace", arguments);
  const std::string& old = read.required("old").require_text("what to replace");
  const std::string& by = read.required("new").require_text("the replacement");
  const std::int64_t count = count_of(read.optional("count"));
  read.finish();
  return replaced(object.text(), old, by, count);
}

template <bool from_right, bool is_index>
Value find(const Value& object, const Arguments& arguments) {
  ArgumentReader read("find", arguments);
  const std::string& wanted = read.required("sub").require_text("what to find");
  read.finish();
  const std::string& text = object.text();
  const std::size_t at = from_right ? text.rfind(wanted) : text.find(wanted);
  if (at == std::string::npos) {
    if (is_index) throw Failure("substring not found");
    return std::int64_t{-1};
  }
  return static_cast<std::int64_t>(count_points(std::string_view(text).substr(0, at)));
}

Value count(const Value& object, const Arguments& arguments) {
  ArgumentReader read("count", arguments);
  const std::string& wanted = read.required("sub").require_text("what to count");
  read.finish();
  if (wanted.empty()) return length(object) + 1;
  return static_cast<std::int64_t>(split(object.text(), &wanted, -1).size()) - 1;
}

Value join(const Value& object, const Arguments& arguments) {
  ArgumentReader read("join", arguments);
  const Value& iterable = read.required("iterable");
  read.finish();
  if (iterable.is_text()) {  // between its letters
    const std::string& between = object.text();
    const std::string spaced = replaced(iterable.text(), "", between, -1);  // at both ends, too
    return iterable.text().empty() ? Value("")
                                   : Value(spaced.substr(between.size(), spaced.size() - 2 * between.size()));
  }
  const std::vector<Value> items = elements(iterable);
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += object.text();
    out += items[i].require_text("an item to join");
    check_text_size(out.size());
  }
  return out;
}

bool is_digit(char32_t point) { return point >= U'0' && point <= U'9'; }
bool is_letter_or_digit(char32_t point) { return is_letter(point) || is_digit(point); }
bool is_space(char32_t point) { return point == U' ' || (point >= 9 && point <= 13); }

template <bool (*is_such)(char32_t)>
Value all_are(const Value& object, const Arguments& arguments) {
  ArgumentReader("a method without parameters", arguments).finish();
  return all_points(object.text(), is_such);
}

const Methods& text_methods() {
  static const Methods table = {{"strip", strip<true, true>},
                                {"lstrip", strip<true, false>},
                                {"rstrip", strip<false, true>},
                                {"upper", converted<upper>},
                                {"lower", converted<lower>},
                                {"title", converted<titled>},
                                {"capitalize", converted<capitalised>},
                                {"split", split_by<split>},
                                {"rsplit", split_by<split_from_right>},
                                {"splitlines", lines},
                                {"startswith", has_affix<true>},
                                {"endswith", has_affix<false>},
                                {"removeprefix", without_affix<true>},
                                {"removesuffix", without_affix<false>},
                                {"replace", replace},
                                {"find", find<false, false>},
                                {"rfind", find<true, false>},
                                {"index", find<false, true>},
                                {"count", count},
                                {"join", join},
                                {"isdigit", all_are<is_digit>},
                                {"isalpha", all_are<is_letter>},
                                {"isalnum", all_are<is_letter_or_digit>},
                                {"isspace", all_are<is_space>}};
  return table;
}

template <bool keys, bool values>
Value view(const Value& object, const Arguments& arguments) {
  ArgumentReader("a method without parameters", arguments).finish();
  std::vector<Value> items;
  for (const auto& [key, value] : object.mapping()->items)
    items.push_back(keys && values ? make_tuple({key, value}) : keys ? key : value);
  return make_sequence(Sequence::Kind::kView, std::move(items));
}

Value get(const Value& object, const Arguments& arguments) {
  ArgumentReader read("get", arguments);
  const Value& key = read.required("key");
  const Value* otherwise = read.optional("default");
  read.finish();
  const Value* found = object.mapping()->find(key);
  return found ? *found : otherwise ? *otherwise : Value(None{});
}

Value copy(const Value& object, const Arguments& arguments) {
  ArgumentReader("copy", arguments).finish();
  return object;
}

const Methods& dict_methods() {
  static const Methods table = {{"get", get},
                                {"items", view<true, true>},
                                {"keys", view<true, false>},
                                {"values", view<false, true>},
                                {"copy", copy}};
  return table;
}

Value index_in_list(const Value& object, const Arguments& arguments) {
  ArgumentReader read("index", arguments);
  const Value& wanted = read.required("value");
  read.finish();
  const std::vector<Value>& items = object.sequence()->items;
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, wanted); });
  if (found == items.end()) throw Failure("the value is not in the list");
  return static_cast<std::int64_t>(found - items.begin());
}

Value count_in_list(const Value& object, const Arguments& arguments) {
  ArgumentReader read("count", arguments);
  const Value& wanted = read.required("value");
  read.finish();
  const std::vector<Value>& items = object.sequence()->items;
  return static_cast<std::int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, wanted); }));
}

const Methods& list_methods() {
  static const Methods table = {{"index", index_in_list}, {"count", count_in_list}, {"copy", copy}};
  return table;
}

/// What Python has and this subset has not: naming it must not look like a missing key.
bool is_known_elsewhere(const Value& object, std::string_view name) {
  static const std::set<std::string_view> of_text = {
      "casefold", "center",  "encode",    "expandtabs",  "format",   "format_map", "isascii",     "isdecimal",
      "islower",  "isupper", "isnumeric", "isprintable", "istitle",  "ljust",      "rjust",       "maketrans",
      "rindex",   "zfill",   "partition", "rpartition",  "swapcase", "translate",  "isidentifier"};
  static const std::set<std::string_view> of_dict = {"clear",      "pop",    "popitem",
                                                     "setdefault", "update", "fromkeys"};
  static const std::set<std::string_view> of_list = {"append", "clear",  "extend",  "insert",
                                                     "pop",    "remove", "reverse", "sort"};
  return (object.is_text() ? of_text : object.mapping() ? of_dict : of_list).count(name) > 0;
}

}  // namespace

Value find_method(const Value& object, const std::string& name) {
  const bool is_list = object.sequence() && object.sequence()->kind <= Sequence::Kind::kTuple;
  if (!object.is_text() && !object.mapping() && !is_list) return {};
  const Methods& methods = object.is_text()   ? text_methods()
                           : object.mapping() ? dict_methods()
                                              : list_methods();
  const auto found = methods.find(name);
  if (found == methods.end()) {
    if (is_known_elsewhere(object, name))
      throw Failure("the method '" + name + "' of " + object.type_name() + " is not supported");
    return {};
  }
  const auto call = [object, method = found->second](Interpreter& interpreter, const Arguments& arguments) {
    interpreter.charge_for(object, arguments);
    return method(object, arguments);
  };
  return std::make_shared<const Callable>(Callable{name, call});
}

}  // namespace llm_tp::jinja

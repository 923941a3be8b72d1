#include "text/jinja/sequence_filters.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "text/jinja/argument_reader.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace llm_tp::jinja {
namespace {

Value lazy(std::vector<Value> items) { return make_sequence(Sequence::Kind::kLazy, std::move(items)); }

/// "a.b.0" as Jinja2's make_attrgetter reads it; `otherwise` stands in for what is undefined on the way.
Value dotted(const Value& object, const Value& path, const Value* otherwise = nullptr) {
  if (path.is_integer()) return item_of(object, path);
  Value value = object;
  const std::string dot = ".";
  for (const std::string& part : split(path.require_text("attribute"), &dot, -1)) {
    std::int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = error == std::errc() && end == part.data() + part.size() && !part.empty();
    value = item_of(value, is_index ? Value(index) : Value(part));
    if (value.is_undefined() && otherwise) value = *otherwise;
  }
  return value;
}

/// What a filter compares: the attribute, in small letters unless case counts.
Value sort_key(const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute && !attribute->is_none() ? dotted(item, *attribute) : item;
  return key.is_text() && !case_sensitive ? Value(lower(key.text())) : key;
}

/// What sort compares: several attributes, "a,b", one after the other. Two undefined ones are equal.
Value sort_keys(const Value& item, const Value* attribute, bool case_sensitive) {
  if (!attribute || !attribute->is_text()) return make_list({sort_key(item, attribute, case_sensitive)});
  const std::string comma = ",";
  std::vector<Value> keys;
  for (std::string& path : split(attribute->text(), &comma, -1)) {
    const Value one(std::move(path));
    keys.push_back(sort_key(item, &one, case_sensitive));
  }
  return make_list(std::move(keys));
}

bool is_set(const Value* value) { return value && value->truth(); }

Value size(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("length", arguments).finish();
  return length(value);
}

Value first(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("first", arguments).finish();
  const std::vector<Value> items = elements(value);
  return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
}

Value last(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("last", arguments).finish();
  const std::vector<Value> items = elements(value);
  return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
}

Value list(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("list", arguments).finish();
  return make_list(elements(value));
}

Value items(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("items", arguments).finish();
  if (value.is_undefined()) return lazy({});
  if (!value.mapping()) throw Failure("Can only get item pairs from a mapping.");
  std::vector<Value> pairs;
  for (const auto& [key, entry] : value.mapping()->items) pairs.push_back(make_tuple({key, entry}));
  return lazy(std::move(pairs));
}

Value join(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("join", arguments);
  const Value* separator = read.optional("d");
  const Value* attribute = read.optional("attribute");
  read.finish();
  const std::string between = separator ? to_text(*separator) : "";
  std::string out;
  bool is_first = true;
  for (const Value& item : elements(value)) {
    if (!std::exchange(is_first, false)) out += between;
    out += to_text(attribute && !attribute->is_none() ? dotted(item, *attribute) : item);
    check_text_size(out.size());
  }
  return out;
}

Value reverse(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("reverse", arguments).finish();
  std::vector<Value> found = elements(value);
  std::reverse(found.begin(), found.end());
  if (!value.is_text()) return lazy(std::move(found));
  std::string out;
  for (const Value& point : found) out += point.text();
  return out;
}

Value sort(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("sort", arguments);
  const bool is_reversed = is_set(read.optional("reverse"));
  const bool case_sensitive = is_set(read.optional("case_sensitive"));
  const Value* attribute = read.optional("attribute");
  read.finish();
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : elements(value)) keyed.emplace_back(sort_keys(item, attribute, case_sensitive), item);
  // Python's reversed sort keeps the order of equals, too.
  std::stable_sort(keyed.begin(), keyed.end(), [is_reversed](const auto& a, const auto& b) {
    return is_reversed ? less(b.first, a.first) : less(a.first, b.first);
  });
  std::vector<Value> sorted;
  for (auto& [key, item] : keyed) sorted.push_back(std::move(item));
  return make_list(std::move(sorted));
}

Value dictsort(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("dictsort", arguments);
  const bool case_sensitive = is_set(read.optional("case_sensitive"));
  const Value* by = read.optional("by");
  const bool is_reversed = is_set(read.optional("reverse"));
  read.finish();
  if (!value.mapping()) throw Failure("dictsort of " + value.type_name());
  const bool by_value = by && by->require_text("by") == "value";
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, entry] : value.mapping()->items)
    keyed.emplace_back(sort_key(by_value ? entry : key, nullptr, case_sensitive), make_tuple({key, entry}));
  std::stable_sort(keyed.begin(), keyed.end(), [is_reversed](const auto& a, const auto& b) {
    return is_reversed ? less(b.first, a.first) : less(a.first, b.first);
  });
  std::vector<Value> sorted;
  for (auto& [key, item] : keyed) sorted.push_back(std::move(item));
  return make_list(std::move(sorted));
}

Value unique(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ArgumentReader read("unique", arguments);
  const bool case_sensitive = is_set(read.optional("case_sensitive"));
  const Value* attribute = read.optional("attribute");
  read.finish();
  Mapping seen;
  std::vector<Value> found;
  for (const Value& item : elements(value)) {
    interpreter.charge(1);
    const Value key = sort_key(item, attribute, case_sensitive);
    if (seen.find(key)) continue;
    seen.set(key, true);
    found.push_back(item);
  }
  return lazy(std::move(found));
}

template <bool wants_largest>
Value extreme(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read(wants_largest ? "max" : "min", arguments);
  const bool case_sensitive = is_set(read.optional("case_sensitive"));
  const Value* attribute = read.optional("attribute");
  read.finish();
  const std::vector<Value> found = elements(value);
  if (found.empty()) return Undefined{"No aggregated item, sequence was empty."};
  std::size_t best = 0;
  Value best_key = sort_key(found[0], attribute, case_sensitive);
  for (std::size_t i = 1; i < found.size(); ++i) {
    Value key = sort_key(found[i], attribute, case_sensitive);
    if (!(wants_largest ? less(best_key, key) : less(key, best_key))) continue;
    best = i;
    best_key = std::move(key);
  }
  return found[best];
}

Value sum(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  ArgumentReader read("sum", arguments);
  const Value* attribute = read.optional("attribute");
  const Value* start = read.optional("start");
  read.finish();
  Value total = start ? *start : Value(std::int64_t{0});
  for (const Value& item : elements(value)) {
    total = binary("+", total, attribute && !attribute->is_none() ? dotted(item, *attribute) : item);
    interpreter.charge_for_copy(total);
  }
  return total;
}

/// What map, select and their like go through: as in Jinja2, nothing where the value is false, none too.
std::vector<Value> elements_if_true(const Value& value) {
  return value.truth() ? elements(value) : std::vector<Value>();
}

/// The arguments behind the first `count` ones.
Arguments rest_of(const Arguments& arguments, std::size_t count) {
  return {{arguments.positional.begin() + static_cast<std::ptrdiff_t>(count), arguments.positional.end()},
          arguments.named};
}

/// select, reject, selectattr, rejectattr: what passes a named test, or is true.
template <bool by_attribute, bool wanted>
Value select(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  constexpr std::size_t skipped = by_attribute ? 1 : 0;
  if (arguments.positional.size() < skipped) throw Failure("Missing parameter for attribute name");
  const Test* test = nullptr;
  Arguments of_test;
  if (arguments.positional.size() > skipped) {
    const std::string& name = arguments.positional[skipped].require_text("a test's name");
    test = find_test(name);
    if (!test) throw Failure("the test '" + name + "' is not supported");
    of_test = rest_of(arguments, skipped + 1);
  }
  std::vector<Value> found;
  for (const Value& item : elements_if_true(value)) {
    const Value tested = by_attribute ? dotted(item, arguments.positional[0]) : item;
    interpreter.charge_for(tested, of_test);
    if ((test ? (*test)(tested, of_test) : tested.truth()) == wanted) found.push_back(item);
  }
  return lazy(std::move(found));
}

Value map(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  std::vector<Value> found;
  if (arguments.positional.empty()) {
    ArgumentReader read("map", arguments);
    const Value& attribute = read.required("attribute");
    const Value* otherwise = read.optional("default");
    read.finish();
    for (const Value& item : elements_if_true(value)) found.push_back(dotted(item, attribute, otherwise));
    return lazy(std::move(found));
  }
  const std::string& name = arguments.positional[0].require_text("a filter's name");
  const Filter filter = find_filter(name);
  if (!filter) throw Failure("the filter '" + name + "' is not supported");
  const Arguments of_filter = rest_of(arguments, 1);
  const Interpreter::Depth depth(interpreter);  // a filter of map may be map
  for (const Value& item : elements_if_true(value)) {
    interpreter.charge_for(item, of_filter);
    found.push_back(filter(interpreter, item, of_filter));
  }
  return lazy(std::move(found));
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> table = {
      {"count", size},
      {"dictsort", dictsort},
      {"first", first},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", size},
      {"list", list},
      {"map", map},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"reject", select<false, false>},
      {"reverse", reverse},
      {"rejectattr", select<true, false>},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"sort", sort},
      {"sum", sum},
      {"unique", unique},
  };
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

bool splits_texts(std::string_view filter) {
  return filter != "length" && filter != "count" && find_sequence_filter(filter);
}

}  // namespace llm_tp::jinja

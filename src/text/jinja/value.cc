#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/memory_budget.h"
#include "text/utf8.h"

namespace llm_tp::jinja {
namespace {

/// Equal keys of a dict have equal texts here: 1, 1.0 and True are one key. Empty: no key.
std::string hash_key(const Value& key) {
  if (key.is_text()) return "t" + key.text();
  if (key.is_none()) return "n";
  if (key.is_number()) {
    const bool is_whole =
        !key.is_float() || (std::trunc(key.number()) == key.number() && std::abs(key.number()) < 1e15);
    return is_whole ? "#" + std::to_string(key.is_float() ? static_cast<std::int64_t>(key.number())
                                                          : key.integer("key"))
                    : "#" + shortest_float(key.number());
  }
  if (const Sequence* tuple = key.sequence(); tuple && tuple->kind == Sequence::Kind::kTuple) {
    std::string joined = "(";
    for (const Value& item : tuple->items) {
      const std::string part = hash_key(item);
      if (part.empty()) return {};
      joined += std::to_string(part.size()) + ":" + part;
    }
    return joined;
  }
  return {};
}

int depth_of(const Value& value) {
  if (value.name_space()) throw Failure("a namespace inside another value is not supported");
  if (const Sequence* sequence = value.sequence()) return sequence->depth;
  if (const Mapping* mapping = value.mapping()) return mapping->depth;
  return 0;
}

int checked_depth(int inner) {
  if (inner >= kMaxValueDepth)
    throw Failure("values nest deeper than " + std::to_string(kMaxValueDepth) + " levels");
  return inner + 1;
}

std::int64_t checked_weight(std::int64_t weight) {
  if (weight > kMaxValueWeight)
    throw Failure("a value is larger than " + std::to_string(kMaxValueWeight >> 20) + " MiB");
  return weight;
}

[[noreturn]] void no_order(const Value& a, const Value& b) {
  throw Failure("'<' between " + a.type_name() + " and " + b.type_name());
}

/// Integers compare as such: a double would merge those beyond 2^53.
bool both_whole(const Value& a, const Value& b) { return !a.is_float() && !b.is_float(); }

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
}

}  // namespace

void check_text_size(std::size_t bytes) { checked_weight(static_cast<std::int64_t>(bytes)); }

std::shared_ptr<const std::string> shared_text(std::string bytes) {
  check_text_size(bytes.size());
  const std::size_t held = sizeof(std::string) + bytes.capacity();
  return make_counted(std::move(bytes), held);
}

double Value::number() const {
  if (is_bool()) return boolean() ? 1.0 : 0.0;
  if (is_integer()) return static_cast<double>(std::get<std::int64_t>(data_));
  return std::get<double>(data_);
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0.0;
  if (is_text()) return !text().empty();
  if (const Sequence* list = sequence()) return list->kind == Sequence::Kind::kLazy || !list->items.empty();
  if (const Mapping* dict = mapping()) return !dict->items.empty();
  return true;
}

std::int64_t Value::integer(const char* what) const {
  if (is_bool()) return boolean() ? 1 : 0;
  if (is_integer()) return std::get<std::int64_t>(data_);
  if (is_undefined()) throw Failure(undefined_sentence());
  throw Failure(std::string(what) + " is " + type_name() + ", an integer is wanted");
}

const std::string& Value::require_text(const char* what) const {
  if (is_text()) return text();
  if (is_undefined()) throw Failure(undefined_sentence());
  throw Failure(std::string(what) + " is " + type_name() + ", a string is wanted");
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_text()) return "str";
  if (mapping()) return "dict";
  if (name_space()) return "Namespace";
  if (callable()) return "function";
  switch (sequence()->kind) {
    case Sequence::Kind::kList:
      return "list";
    case Sequence::Kind::kTuple:
      return "tuple";
    case Sequence::Kind::kLazy:
      return "generator";
    case Sequence::Kind::kView:
      break;
  }
  return "dict view";
}

std::int64_t Value::weight() const {
  if (is_text()) return kItemWeight + static_cast<std::int64_t>(text().size());
  if (const Sequence* list = sequence()) return list->weight;
  if (const Mapping* dict = mapping()) return dict->weight;
  return kItemWeight;
}

const Value* Mapping::find(const Value& key) const {
  const std::string hashed = hash_key(key);
  if (hashed.empty()) return nullptr;
  const auto place = places.find(hashed);
  return place == places.end() ? nullptr : &items[place->second].second;
}

void Mapping::set(const Value& key, Value value) {
  const std::string hashed = hash_key(key);
  if (hashed.empty()) throw Failure("unhashable type: '" + key.type_name() + "'");
  depth = std::max({depth, checked_depth(depth_of(value)), checked_depth(depth_of(key))});
  const auto [place, is_new] = places.emplace(hashed, items.size());
  if (is_new) {
    weight = checked_weight(weight + key.weight() + value.weight());
    items.emplace_back(key, std::move(value));
  } else {
    Value& held = items[place->second].second;
    weight = checked_weight(weight + value.weight() - held.weight());
    held = std::move(value);
  }
}

Value make_sequence(Sequence::Kind kind, std::vector<Value> items) {
  int depth = 0;
  std::int64_t weight = kItemWeight;
  for (const Value& item : items) {
    depth = std::max(depth, depth_of(item));
    weight = checked_weight(weight + item.weight());
  }
  const std::size_t held = sizeof(Sequence) + items.capacity() * sizeof(Value);
  return make_counted(Sequence{kind, std::move(items), checked_depth(depth), weight}, held);
}

Value make_list(std::vector<Value> items) { return make_sequence(Sequence::Kind::kList, std::move(items)); }
Value make_tuple(std::vector<Value> items) { return make_sequence(Sequence::Kind::kTuple, std::move(items)); }
Value make_mapping(Mapping mapping) {
  // A key stands in the items and, as a text of its own, in the hash table.
  std::size_t held = sizeof(Mapping);
  for (const auto& [key, unused] : mapping.places)
    held += sizeof(std::pair<Value, Value>) + sizeof(std::string) + key.capacity() + 4 * sizeof(void*);
  return make_counted(std::move(mapping), held);
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return both_whole(a, b) ? a.integer("") == b.integer("") : a.number() == b.number();
  }
  if (a.is_text() && b.is_text()) return a.text() == b.text();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.sequence() && b.sequence())
    return a.sequence()->kind == b.sequence()->kind && equal_items(a.sequence()->items, b.sequence()->items);
  if (a.mapping() && b.mapping()) {
    if (a.mapping()->items.size() != b.mapping()->items.size()) return false;
    return std::all_of(a.mapping()->items.begin(), a.mapping()->items.end(), [&b](const auto& entry) {
      const Value* other = b.mapping()->find(entry.first);
      return other && equal(entry.second, *other);
    });
  }
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  return a.callable() && a.callable() == b.callable();
}

bool less(const Value& a, const Value& b) {
  for (const Value* side : {&a, &b}) {
    if (side->is_undefined()) throw Failure(side->undefined_sentence());
  }
  if (a.is_number() && b.is_number()) {
    return both_whole(a, b) ? a.integer("") < b.integer("") : a.number() < b.number();
  }
  if (a.is_text() && b.is_text()) return a.text() < b.text();  // the order of UTF-8 is that of code points
  if (!a.sequence() || !b.sequence() || a.sequence()->kind != b.sequence()->kind) no_order(a, b);
  const auto& first = a.sequence()->items;
  const auto& second = b.sequence()->items;
  for (std::size_t i = 0; i < std::min(first.size(), second.size()); ++i) {
    if (!equal(first[i], second[i])) return less(first[i], second[i]);
  }
  return first.size() < second.size();
}

bool contains(const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    if (!item.is_text())
      throw Failure("'in <string>' requires string as left operand, not " + item.type_name());
    return container.text().find(item.text()) != std::string::npos;
  }
  if (const Mapping* dict = container.mapping()) {
    if (item.sequence() && item.sequence()->kind != Sequence::Kind::kTuple)
      throw Failure("unhashable type: '" + item.type_name() + "'");
    return dict->find(item) != nullptr;
  }
  if (const Sequence* list = container.sequence()) {
    return std::any_of(list->items.begin(), list->items.end(),
                       [&item](const Value& candidate) { return equal(candidate, item); });
  }
  throw Failure("argument of type '" + container.type_name() + "' is not iterable");
}

std::vector<Value> elements(const Value& value) {
  if (value.is_undefined()) return {};
  if (const Sequence* list = value.sequence()) return list->items;
  std::vector<Value> found;
  if (value.is_text()) {
    for (std::string_view rest = value.text(); !rest.empty(); rest.remove_prefix(byte_of_point(rest, 1)))
      found.emplace_back(rest.substr(0, byte_of_point(rest, 1)));
    return found;
  }
  if (const Mapping* dict = value.mapping()) {
    for (const auto& [key, unused] : dict->items) found.push_back(key);
    return found;
  }
  throw Failure("'" + value.type_name() + "' object is not iterable");
}

std::int64_t length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return count_points(value.text());
  if (const Mapping* dict = value.mapping()) return static_cast<std::int64_t>(dict->items.size());
  if (const Sequence* list = value.sequence(); list && list->kind != Sequence::Kind::kLazy)
    return static_cast<std::int64_t>(list->items.size());
  throw Failure("object of type '" + value.type_name() + "' has no len()");
}

Value missing_attribute(const Value& object, const std::string& name) {
  const std::string type = object.is_none() ? "None" : "'" + object.type_name() + " object'";
  return Undefined{type + " has no attribute '" + name + "'"};
}

std::int64_t count_points(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count)
    at += static_cast<std::size_t>(utf8_step(text, at).bytes);
  return count;
}

std::size_t byte_of_point(std::string_view text, std::int64_t index) {
  std::size_t at = 0;
  for (; at < text.size() && index > 0; --index) at += static_cast<std::size_t>(utf8_step(text, at).bytes);
  return at;
}

}  // namespace llm_tp::jinja

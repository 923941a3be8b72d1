#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"

namespace llm_tp::jinja {
namespace {

[[noreturn]] void unsupported_operands(const std::string& operation, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) throw Failure(side->undefined_sentence());
  }
  throw Failure("unsupported operand types for " + operation + ": " + left.type_name() + " and " +
                right.type_name());
}

std::int64_t checked(bool overflow, std::int64_t result) {
  if (overflow) throw Failure("an integer beyond 64 bits");
  return result;
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == -1) {
    std::int64_t result = 0;
    const bool overflow = __builtin_sub_overflow(std::int64_t{0}, a, &result);
    return checked(overflow, result);
  }
  const std::int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  bool overflow = false;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) overflow = __builtin_mul_overflow(result, base, &result) || overflow;
    if (exponent > 1) overflow = __builtin_mul_overflow(base, base, &base) || overflow;
    if (overflow) break;
  }
  return checked(overflow, result);
}

Value whole_arithmetic(const std::string& operation, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (operation == "+") {
    const bool overflow = __builtin_add_overflow(a, b, &result);
    return checked(overflow, result);
  }
  if (operation == "-") {
    const bool overflow = __builtin_sub_overflow(a, b, &result);
    return checked(overflow, result);
  }
  if (operation == "*") {
    const bool overflow = __builtin_mul_overflow(a, b, &result);
    return checked(overflow, result);
  }
  if (operation == "**" && b >= 0) return power(a, b);
  if (operation == "**") return std::pow(static_cast<double>(a), static_cast<double>(b));
  if (b == 0) throw Failure("division by zero");
  if (operation == "/") return static_cast<double>(a) / static_cast<double>(b);
  const std::int64_t quotient = floor_quotient(a, b);
  return operation == "//" ? quotient : a - quotient * b;
}

Value float_arithmetic(const std::string& operation, double a, double b) {
  if (operation == "+") return a + b;
  if (operation == "-") return a - b;
  if (operation == "*") return a * b;
  if (operation == "**") return std::pow(a, b);
  if (b == 0.0) throw Failure("division by zero");
  if (operation == "/") return a / b;
  double remainder = std::fmod(a, b);  // Python's has the sign of the divisor
  if (remainder != 0.0 && (remainder < 0.0) != (b < 0.0)) remainder += b;
  if (operation == "%") return remainder;
  return std::round((a - remainder) / b);
}

void require_plain(const Value& value) {
  if (value.is_safe_text()) throw Failure("arithmetic with text marked safe is not supported");
}

std::size_t checked_repeats(std::int64_t count, std::int64_t weight) {
  const std::int64_t repeats = count < 0 ? 0 : count;
  if (weight > 0 && repeats > kMaxValueWeight / weight) check_text_size(SIZE_MAX / 2);
  return static_cast<std::size_t>(repeats);
}

Value repeated(const Value& value, std::int64_t count) {
  if (value.is_text()) {
    require_plain(value);
    const std::string& once = value.text();
    const std::size_t repeats =
        once.empty() ? 0 : checked_repeats(count, static_cast<std::int64_t>(once.size()));
    std::string out;
    out.reserve(repeats * once.size());
    for (std::size_t i = 0; i < repeats; ++i) out += once;
    return out;
  }
  const Sequence& once = *value.sequence();
  const std::size_t repeats = once.items.empty() ? 0 : checked_repeats(count, once.weight);
  std::vector<Value> items;
  for (std::size_t i = 0; i < repeats; ++i) items.insert(items.end(), once.items.begin(), once.items.end());
  return make_sequence(once.kind, std::move(items));
}

bool is_repeatable(const Value& value) {
  return value.is_text() || (value.sequence() && value.sequence()->kind <= Sequence::Kind::kTuple);
}

}  // namespace

Value binary(const std::string& operation, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    return left.is_float() || right.is_float()
               ? float_arithmetic(operation, left.number(), right.number())
               : whole_arithmetic(operation, left.integer(""), right.integer(""));
  }
  if (operation == "+" && left.is_text() && right.is_text()) {
    require_plain(left);
    require_plain(right);
    return left.text() + right.text();
  }
  if (operation == "+" && is_repeatable(left) && is_repeatable(right) && left.sequence() &&
      right.sequence() && left.sequence()->kind == right.sequence()->kind) {
    std::vector<Value> items = left.sequence()->items;
    items.insert(items.end(), right.sequence()->items.begin(), right.sequence()->items.end());
    return make_sequence(left.sequence()->kind, std::move(items));
  }
  if (operation == "*" && is_repeatable(left) && (right.is_integer() || right.is_bool()))
    return repeated(left, right.integer(""));
  if (operation == "*" && is_repeatable(right) && (left.is_integer() || left.is_bool()))
    return repeated(right, left.integer(""));
  if (operation == "%" && left.is_text()) throw Failure("formatting of strings with % is not supported");
  unsupported_operands(operation, left, right);
}

Value negated(const Value& value) {
  if (value.is_float()) return -value.number();
  if (!value.is_number()) unsupported_operands("-", value, value);
  return whole_arithmetic("-", 0, value.integer(""));
}

Value attribute_of(const Value& object, const std::string& name) {
  if (object.is_undefined()) throw Failure(object.undefined_sentence());
  if (const Namespace* space = object.name_space()) return space->attribute(name);
  if (Value method = find_method(object, name); !method.is_undefined()) return method;
  if (const Mapping* dict = object.mapping()) {
    if (const Value* found = dict->find(std::string_view(name))) return *found;
  }
  return missing_attribute(object, name);
}

Value item_of(const Value& object, const Value& index) {
  if (object.is_undefined()) throw Failure(object.undefined_sentence());
  if (const Mapping* dict = object.mapping()) {
    if (const Value* found = dict->find(index)) return *found;
  }
  if (index.is_text()) return attribute_of(object, index.text());
  const bool is_indexed =
      object.is_text() || (object.sequence() && object.sequence()->kind <= Sequence::Kind::kTuple);
  if (is_indexed && (index.is_integer() || index.is_bool())) {
    const std::int64_t at = index.integer("an index");
    const std::int64_t size = length(object);
    const std::int64_t place = at < 0 ? at + size : at;
    if (place >= 0 && place < size) {
      if (!object.is_text()) return object.sequence()->items[static_cast<std::size_t>(place)];
      const std::string_view rest =
          std::string_view(object.text()).substr(byte_of_point(object.text(), place));
      return rest.substr(0, byte_of_point(rest, 1));
    }
  }
  return Undefined{object.type_name() + " object has no element " +
                   (index.is_integer() ? std::to_string(index.integer("")) : index.type_name())};
}

Value slice_of(const Value& object, const Value* begin, const Value* end, const Value* step) {
  if (object.is_undefined()) throw Failure(object.undefined_sentence());
  const bool is_sliced =
      object.is_text() || (object.sequence() && object.sequence()->kind <= Sequence::Kind::kTuple);
  if (!is_sliced) throw Failure("'" + object.type_name() + "' object cannot be sliced");
  const std::int64_t size = length(object);
  const auto limit = [](const Value* value, std::int64_t otherwise) {
    return value && !value->is_none() ? value->integer("a slice's limit") : otherwise;
  };
  const std::int64_t stride = limit(step, 1);
  if (stride == 0) throw Failure("slice step cannot be zero");
  // As Python: negative limits count from the end, then both are cut to where the slice can start and stop.
  const std::int64_t lowest = stride > 0 ? 0 : -1;
  const std::int64_t highest = stride > 0 ? size : size - 1;
  const auto place = [&](const Value* value, std::int64_t otherwise) {
    if (!value || value->is_none()) return otherwise;
    std::int64_t at = value->integer("a slice's limit");
    if (at < 0) at = std::max(at, -size - 1) + size;
    return std::min(std::max(at, lowest), highest);
  };
  const std::int64_t first = place(begin, stride > 0 ? lowest : highest);
  const std::int64_t last = place(end, stride > 0 ? highest : lowest);
  if (object.is_text() && stride == 1) {
    const std::string_view tail = std::string_view(object.text()).substr(byte_of_point(object.text(), first));
    return tail.substr(0, byte_of_point(tail, last - first));
  }
  std::vector<std::size_t> chosen;
  // The distance is at most size, so a stride beyond it ends the loop without an overflow.
  const std::int64_t hop = std::max(std::min(stride, size + 1), -size - 1);
  for (std::int64_t at = first; stride > 0 ? at < last : at > last; at += hop)
    chosen.push_back(static_cast<std::size_t>(at));
  const std::vector<Value> all = elements(object);
  if (object.is_text()) {
    std::string out;
    for (const std::size_t at : chosen) out += all[at].text();
    return out;
  }
  std::vector<Value> items;
  for (const std::size_t at : chosen) items.push_back(all[at]);
  return make_sequence(object.sequence()->kind, std::move(items));
}

}  // namespace llm_tp::jinja

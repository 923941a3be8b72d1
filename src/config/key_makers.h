#pragma once
#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "config/key_table.h"
#include "config/parse_value.h"

// How the keys of key_table() are made: one function a type. Included by the files that list keys.
namespace llm_tp::keys {

inline constexpr std::int64_t kManyTokens = std::int64_t{1} << 30;
inline constexpr std::int64_t kLargestId = std::numeric_limits<TokenId>::max();
inline constexpr std::size_t kLongestName = 64;  // no suggestion for longer ones: edit distance is quadratic

using Items = std::span<const std::string>;

/// What every key states, whatever its type.
struct Label {
  std::string name, flag, unit, help, unset{};
};

inline KeyInfo labelled(Label label, KeyType type, std::string allowed) {
  KeyInfo key;
  key.name = std::move(label.name);
  key.flag = std::move(label.flag);
  key.unit = std::move(label.unit);
  key.help = std::move(label.help);
  key.unset = std::move(label.unset);
  key.type = type;
  key.allowed = std::move(allowed);
  return key;
}

inline KeyValue value_of(bool value) { return value; }
inline KeyValue value_of(int value) { return std::int64_t{value}; }
inline KeyValue value_of(std::int64_t value) { return value; }
inline KeyValue value_of(double value) { return value; }
inline KeyValue value_of(const std::string& value) { return value; }
inline KeyValue value_of(const std::vector<std::string>& value) { return value; }
inline KeyValue value_of(const std::vector<double>& value) { return value; }
inline KeyValue value_of(const std::vector<TokenId>& value) {
  return std::vector<std::int64_t>(value.begin(), value.end());
}
template <class T>
KeyValue value_of(const std::optional<T>& value) {
  return value ? value_of(*value) : KeyValue{};
}

/// T of T and of std::optional<T>.
template <class T>
struct Plain {
  using Type = T;
};
template <class T>
struct Plain<std::optional<T>> {
  using Type = T;
};
template <class Field>
using PlainOf =
    typename Plain<std::remove_cvref_t<decltype(std::declval<Field>()(std::declval<EngineConfig&>()))>>::Type;

/// Gives `key` its getter and, from `parse` (text -> Parsed), its setter. `field` maps a config, const or
/// not, to the member.
template <class Field, class Parse>
KeyInfo with_value(KeyInfo key, Field field, Parse parse) {
  key.get = [field](const EngineConfig& config) { return value_of(field(config)); };
  key.set = [field, parse](EngineConfig& config, Items items) -> std::optional<Refusal> {
    if (items.size() != 1) return Refusal{0, "give one value"};
    auto parsed = parse(items[0]);
    if (!parsed.value) return Refusal{0, parsed.hint};
    field(config) = static_cast<PlainOf<Field>>(*std::move(parsed.value));
    return std::nullopt;
  };
  return key;
}

/// The same for a list, item by item.
template <class Field, class Parse>
KeyInfo with_list(KeyInfo key, Field field, Parse parse) {
  key.get = [field](const EngineConfig& config) { return value_of(field(config)); };
  key.set = [field, parse](EngineConfig& config, Items items) -> std::optional<Refusal> {
    PlainOf<Field> values;
    for (std::size_t i = 0; i < items.size(); ++i) {
      auto parsed = parse(items[i]);
      if (!parsed.value) return Refusal{i, parsed.hint};
      values.push_back(static_cast<typename PlainOf<Field>::value_type>(*std::move(parsed.value)));
    }
    field(config) = std::move(values);
    return std::nullopt;
  };
  return key;
}

inline std::string range_text(const std::string& kind, const std::string& low, const std::string& high) {
  return kind + ", " + low + " to " + high;
}

template <class Field>
KeyInfo integer_key(Label label, std::int64_t low, std::int64_t high, Field field) {
  KeyInfo key = labelled(std::move(label), KeyType::kInteger,
                         range_text("a whole number", std::to_string(low), std::to_string(high)));
  return with_value(std::move(key), field,
                    [low, high](const std::string& text) { return parse_integer(text, low, high); });
}

template <class Field>
KeyInfo number_key(Label label, double low, double high, Field field) {
  KeyInfo key = labelled(std::move(label), KeyType::kNumber,
                         range_text("a number", number_text(low), number_text(high)));
  return with_value(std::move(key), field,
                    [low, high](const std::string& text) { return parse_number(text, low, high); });
}

template <class Field>
KeyInfo bool_key(Label label, Field field) {
  return with_value(labelled(std::move(label), KeyType::kBool, "true or false"), field,
                    [](const std::string& text) { return parse_bool(text); });
}

template <class Field>
KeyInfo text_key(Label label, std::string allowed, Field field) {
  return with_value(labelled(std::move(label), KeyType::kText, std::move(allowed)), field,
                    [](const std::string& text) {
                      return Parsed<std::string>{text, {}};
                    });
}

template <class Value>
using Choices = std::vector<std::pair<std::string, Value>>;

template <class Value, class Field>
KeyInfo choice_key(Label label, Choices<Value> choices, Field field) {
  std::string allowed = "one of ";
  for (const auto& [name, value] : choices) allowed += (&name == &choices.front().first ? "" : ", ") + name;
  KeyInfo key = labelled(std::move(label), KeyType::kChoice, std::move(allowed));
  key.get = [field, choices](const EngineConfig& config) -> KeyValue {
    for (const auto& [name, value] : choices)
      if (value == field(config)) return name;
    return {};
  };
  key.set = [field, choices](EngineConfig& config, Items items) -> std::optional<Refusal> {
    if (items.size() != 1) return Refusal{0, "give one value"};
    for (const auto& [name, value] : choices) {
      if (name != items[0]) continue;
      field(config) = value;
      return std::nullopt;
    }
    for (const auto& [name, value] : choices)
      if (items[0].size() <= kLongestName && edit_distance(name, items[0]) == 1)
        return Refusal{0, "did you mean " + name + "?"};
    return Refusal{};
  };
  return key;
}

template <class Field>
KeyInfo ids_key(Label label, Field field) {
  KeyInfo key = labelled(std::move(label), KeyType::kIntegerList,
                         range_text("a list of whole numbers", "0", std::to_string(kLargestId)));
  return with_list(std::move(key), field,
                   [](const std::string& text) { return parse_integer(text, 0, kLargestId); });
}

/// A number above `low`, up to `high`.
template <class Field>
KeyInfo positive_key(Label label, double low, double high, Field field) {
  KeyInfo key =
      labelled(std::move(label), KeyType::kNumber,
               range_text("a number", number_text(low), number_text(high)) + ", but not " + number_text(low));
  return with_value(std::move(key), field, [low, high](const std::string& text) {
    Parsed<double> parsed = parse_number(text, low, high);
    if (parsed.value && *parsed.value <= low) parsed.value.reset();
    return parsed;
  });
}

/// Section `generation`.
void add_generation_keys(std::vector<KeyInfo>& keys);
/// Sections `embed`, `batch`, `serve` and `loadtest`.
void add_embed_keys(std::vector<KeyInfo>& keys);
void add_batch_keys(std::vector<KeyInfo>& keys);
void add_serve_keys(std::vector<KeyInfo>& keys);
void add_loadtest_keys(std::vector<KeyInfo>& keys);

}  // namespace llm_tp::keys

/// Maps a config, const or not, to one of its members.
#define LLM_TP_FIELD(member) \
  [](auto& config) -> auto& { return config.member; }

#include "serve/body_reader.h"

#include <cmath>
#include <limits>

#include "serve/api_error.h"

namespace llm_tp {
namespace {

constexpr int kDeepest = 64;
// Objects keep the order of their keys in a list, which is searched from its start.
constexpr int kMostKeys = 512;

std::string shown(const Json& value) {
  constexpr std::size_t kLongest = 60;
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = to_text(value);
  return text.size() > kLongest ? "a long text" : text;
}

}  // namespace

Json parse_body(std::string_view text, const std::string& what) {
  std::vector<int> keys;  // of each open object or list
  const auto within_limits = [&](int, Json::parse_event_t event, Json&) {
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        keys.push_back(0);
        if (keys.size() > kDeepest) throw ApiError(400, what + " is nested deeper than 64 levels");
        break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (++keys.back() > kMostKeys)
          throw ApiError(400, "an object of " + what + " has more than 512 keys");
        break;
      case Json::parse_event_t::value:
        break;
    }
    return true;
  };
  Json body;
  try {
    body = Json::parse(text.begin(), text.end(), within_limits);
  } catch (const Json::exception& error) {
    throw ApiError(400, what + " is not JSON: " + error.what());
  }
  if (!body.is_object()) throw ApiError(400, what + " must be a JSON object, found " + shown(body));
  return body;
}

BodyReader::BodyReader(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
  if (!object.is_object()) {
    const std::string name = place_.substr(0, place_.size() - (place_.empty() ? 0 : 1));
    throw ApiError(400, name + ": wanted an object, found " + shown(object), name);
  }
}

void BodyReader::fail(const std::string& name, const std::string& message) const {
  throw ApiError(400, place_ + name + ": " + message, place_ + name);
}

const Json* BodyReader::find(const char* name) {
  known_.insert(name);
  const auto at = object_.find(name);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

std::optional<bool> BodyReader::boolean(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(name, "wanted true or false, found " + shown(*value));
  return value->get<bool>();
}

std::optional<std::int64_t> BodyReader::integer(const IntegerField& field) {
  const Json* value = find(field.name);
  if (value == nullptr) return std::nullopt;
  const bool too_large =
      value->is_number_unsigned() &&
      value->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  if (!value->is_number_integer() || too_large || value->get<std::int64_t>() < field.low ||
      value->get<std::int64_t>() > field.high)
    fail(field.name, "wanted a whole number from " + std::to_string(field.low) + " to " +
                         std::to_string(field.high) + ", found " + shown(*value));
  return value->get<std::int64_t>();
}

std::optional<double> BodyReader::number(const NumberField& field) {
  const Json* value = find(field.name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() < field.low ||
      value->get<double>() > field.high)
    fail(field.name, "wanted a number from " + to_text(field.low) + " to " + to_text(field.high) +
                         ", found " + shown(*value));
  return value->get<double>();
}

std::optional<std::string> BodyReader::text(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(name, "wanted a text, found " + shown(*value));
  return value->get<std::string>();
}

std::vector<TokenId> token_ids_of(const Json& list, const std::string& name) {
  const auto fail = [&](const Json& found) {
    throw ApiError(400, name + ": wanted token ids, found " + shown(found), name);
  };
  if (!list.is_array()) fail(list);
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const Json& item : list) {
    if (!item.is_number_unsigned() ||
        item.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<TokenId>::max()})
      fail(item);
    ids.push_back(item.get<TokenId>());
  }
  return ids;
}

std::vector<TokenId> BodyReader::token_ids(const char* name) {
  const Json* value = find(name);
  return value == nullptr ? std::vector<TokenId>() : token_ids_of(*value, place_ + name);
}

std::vector<std::string> BodyReader::texts(const char* name, std::size_t most) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  std::vector<std::string> texts;
  for (const Json& item : value->is_array() ? *value : Json::array({*value})) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty())
      fail(name, "wanted texts that are not empty, found " + shown(item));
    texts.push_back(item.get<std::string>());
  }
  if (texts.size() > most) fail(name, "wanted at most " + std::to_string(most) + " texts");
  return texts;
}

void BodyReader::ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void BodyReader::refuse_unless(const char* name, const Json& harmless, const char* why) {
  if (const Json* value = find(name); value != nullptr && *value != harmless) fail(name, why);
}

void BodyReader::finish() const {
  for (const auto& [name, value] : object_.items())
    if (!known_.contains(name)) fail(name.substr(0, 60), "no field of this request");
}

}  // namespace llm_tp

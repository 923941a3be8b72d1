#include "model/config_keys.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;  // no model has more of anything

/// For messages: short, and ASCII.
std::string shown(const nlohmann::json& value) {
  constexpr std::size_t kMostCharacters = 200;
  std::string text = value.dump(-1, ' ', true);
  return text.size() <= kMostCharacters ? text : text.substr(0, kMostCharacters) + "...";
}

}  // namespace

void refuse_model(const std::string& where, const std::string& what) {
  throw Error(ExitCode::kBadData, where + ": " + what);
}

const nlohmann::json* ConfigKeys::find(const char* key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

bool ConfigKeys::absent(const char* key) const { return !object_.contains(key); }

std::int64_t ConfigKeys::integer_of(const nlohmann::json& value, const char* key) const {
  if (!value.is_number_integer()) refuse(std::string(key) + " is " + shown(value) + ", wanted an integer");
  const auto number = value.get<std::int64_t>();
  if (number < 0 || number > kMost) refuse(std::string(key) + " is " + shown(value) + ", out of range");
  return number;
}

std::optional<std::int64_t> ConfigKeys::integer(const char* key) const {
  const auto* v = find(key);
  return v == nullptr ? std::nullopt : std::optional(integer_of(*v, key));
}

std::int64_t ConfigKeys::required(const char* key) const {
  const auto value = integer(key);
  if (!value) refuse(std::string("the key ") + key + " is missing");
  if (*value < 1) refuse(std::string(key) + " is " + std::to_string(*value) + ", wanted at least 1");
  return *value;
}

double ConfigKeys::real(const char* key, double otherwise) const {
  const auto* v = find(key);
  if (v == nullptr) return otherwise;
  if (!v->is_number()) refuse(std::string(key) + " is " + shown(*v) + ", wanted a number");
  return v->get<double>();
}

bool ConfigKeys::boolean(const char* key, bool otherwise) const {
  const auto* v = find(key);
  if (v == nullptr) return otherwise;
  if (!v->is_boolean()) refuse(std::string(key) + " is " + shown(*v) + ", wanted true or false");
  return v->get<bool>();
}

std::optional<std::string> ConfigKeys::text(const char* key) const {
  const auto* v = find(key);
  if (v == nullptr) return std::nullopt;
  if (!v->is_string()) refuse(std::string(key) + " is " + shown(*v) + ", wanted a string");
  return v->get<std::string>();
}

ConfigKeys ConfigKeys::object(const char* key) const {
  static const nlohmann::json kNone = nlohmann::json::object();
  const auto* v = find(key);
  if (v != nullptr && !v->is_object()) refuse(std::string(key) + " is " + shown(*v) + ", wanted an object");
  return {v != nullptr ? *v : kNone, where_ + ": " + key};
}

std::vector<double> ConfigKeys::reals(const char* key) const {
  const auto* v = find(key);
  std::vector<double> list;
  if (v == nullptr) return list;
  if (!v->is_array()) refuse(std::string(key) + " is " + shown(*v) + ", wanted a list of numbers");
  for (const auto& number : *v) {
    if (!number.is_number()) refuse(std::string(key) + " holds " + shown(number) + ", wanted numbers");
    list.push_back(number.get<double>());
  }
  return list;
}

std::vector<std::int64_t> ConfigKeys::integers(const char* key) const {
  const auto* v = find(key);
  std::vector<std::int64_t> list;
  if (v == nullptr) return list;
  if (!v->is_array()) refuse(std::string(key) + " is " + shown(*v) + ", wanted a list of integers");
  for (const auto& number : *v) list.push_back(integer_of(number, key));
  return list;
}

}  // namespace llm_tp

#include "model/config_keys.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;  // no model has more of anything

}  // namespace

void refuse_model(const std::string& where, const std::string& what) {
  throw Error(ExitCode::kBadData, where + ": " + what);
}

const nlohmann::json* ConfigKeys::find(const char* key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

std::optional<std::int64_t> ConfigKeys::integer(const char* key) const {
  const auto* v = find(key);
  if (v == nullptr) return std::nullopt;
  if (!v->is_number_integer()) refuse(std::string(key) + " is " + v->dump() + ", wanted an integer");
  const auto value = v->get<std::int64_t>();
  if (value < 0 || value > kMost) refuse(std::string(key) + " is " + v->dump() + ", out of range");
  return value;
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
  if (!v->is_number()) refuse(std::string(key) + " is " + v->dump() + ", wanted a number");
  return v->get<double>();
}

bool ConfigKeys::boolean(const char* key, bool otherwise) const {
  const auto* v = find(key);
  if (v == nullptr) return otherwise;
  if (!v->is_boolean()) refuse(std::string(key) + " is " + v->dump() + ", wanted true or false");
  return v->get<bool>();
}

std::optional<std::string> ConfigKeys::text(const char* key) const {
  const auto* v = find(key);
  if (v == nullptr) return std::nullopt;
  if (!v->is_string()) refuse(std::string(key) + " is " + v->dump() + ", wanted a string");
  return v->get<std::string>();
}

std::vector<double> ConfigKeys::reals(const char* key) const {
  const auto* v = find(key);
  std::vector<double> list;
  if (v == nullptr) return list;
  if (!v->is_array()) refuse(std::string(key) + " is " + v->dump() + ", wanted a list of numbers");
  for (const auto& number : *v) {
    if (!number.is_number()) refuse(std::string(key) + " holds " + number.dump() + ", wanted numbers");
    list.push_back(number.get<double>());
  }
  return list;
}

}  // namespace llm_tp

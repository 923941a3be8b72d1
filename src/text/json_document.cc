#include "text/json_document.h"

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr int kDeepest = 64;
constexpr std::size_t kLargestBytes = std::size_t{256} << 20;

}  // namespace

nlohmann::json parse_json_document(std::string_view text, const std::string& name) {
  if (text.size() > kLargestBytes) {
    throw Error(ExitCode::kBadData, name + " has " + std::to_string(text.size()) +
                                        " bytes, at most 256 MiB are read; is it the right file?");
  }
  const auto check_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kDeepest)
      throw Error(ExitCode::kBadData, name + " is nested deeper than 64 levels; is it the right file?");
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check_depth);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ExitCode::kBadData, name + " is no JSON: " + std::string(error.what()).substr(0, 300));
  }
}

void JsonPlace::fail(const std::string& found_and_wanted) const {
  throw Error(ExitCode::kBadData, place_ + " " + found_and_wanted);
}

JsonPlace JsonPlace::at(std::string_view key) const {
  static const nlohmann::json kNull;
  if (!value_->is_object()) fail(std::string("is a JSON ") + value_->type_name() + ", an object was wanted");
  const auto found = value_->find(key);
  return {found == value_->end() ? kNull : *found,
          place_ + (place_.find(": ") == std::string::npos ? ": " : ".") + std::string(key)};
}

JsonPlace JsonPlace::element(std::size_t index) const {
  return {(*value_)[index], place_ + "[" + std::to_string(index) + "]"};
}

const JsonPlace& JsonPlace::require_array() const {
  if (!value_->is_array()) fail(std::string("is a JSON ") + value_->type_name() + ", an array was wanted");
  return *this;
}

const JsonPlace& JsonPlace::require_array(std::size_t elements) const {
  if (require_array().value().size() != elements)
    fail("has " + std::to_string(value_->size()) + " elements, " + std::to_string(elements) + " were wanted");
  return *this;
}

const JsonPlace& JsonPlace::require_object() const {
  if (!value_->is_object()) fail(std::string("is a JSON ") + value_->type_name() + ", an object was wanted");
  return *this;
}

std::string JsonPlace::string() const {
  if (!value_->is_string()) fail(std::string("is a JSON ") + value_->type_name() + ", a string was wanted");
  return value_->get<std::string>();
}

std::int64_t JsonPlace::integer(std::int64_t low, std::int64_t high) const {
  // A number above 2^63 is unsigned in the document and must not wrap round.
  const bool fits = value_->is_number_integer() &&
                    !(value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX);
  if (!fits || value_->get<std::int64_t>() < low || value_->get<std::int64_t>() > high) {
    fail((value_->is_number() ? "is " + value_->dump() : std::string("is a JSON ") + value_->type_name()) +
         ", a whole number from " + std::to_string(low) + " to " + std::to_string(high) + " was wanted");
  }
  return value_->get<std::int64_t>();
}

std::optional<bool> JsonPlace::boolean(const char* key) const {
  const JsonPlace place = at(key);
  if (place.is_null()) return std::nullopt;
  if (!place.value().is_boolean())
    place.fail(std::string("is a JSON ") + place.value().type_name() + ", true or false was wanted");
  return place.value().get<bool>();
}

bool JsonPlace::boolean_or(const char* key, bool otherwise) const { return boolean(key).value_or(otherwise); }

std::optional<std::string> JsonPlace::string(const char* key) const {
  const JsonPlace place = at(key);
  if (place.is_null()) return std::nullopt;
  return place.string();
}

}  // namespace llm_tp

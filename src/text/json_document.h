#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// Parses JSON of a tokenizer's file. `name` stands in messages. Errors: kBadData for what is no JSON, nested
/// deeper than 64, or larger than 256 MiB.
nlohmann::json parse_json_document(std::string_view text, const std::string& name);

/// One value inside a document, with its way there for messages: "tokenizer.json: model.vocab". Borrows the
/// document.
class JsonPlace {
 public:
  JsonPlace(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}
  const nlohmann::json& value() const noexcept { return *value_; }
  bool is_null() const noexcept { return value_->is_null(); }
  bool has(const char* key) const {
    return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null();
  }
  /// The value under a key; null where the key is absent. Errors: kBadData where this is no object.
  JsonPlace at(std::string_view key) const;
  JsonPlace element(std::size_t index) const;  // of an array
  /// Errors of the following: kBadData with the place for another type.
  const JsonPlace& require_array() const;
  const JsonPlace& require_array(std::size_t elements) const;
  const JsonPlace& require_object() const;
  std::string string() const;
  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  bool boolean_or(const char* key, bool otherwise) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> string(const char* key) const;
  [[noreturn]] void fail(const std::string& found_and_wanted) const;

 private:
  const nlohmann::json* value_;
  std::string place_;
};

}  // namespace llm_tp

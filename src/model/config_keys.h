#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace llm_tp {

/// Throws kBadData: "where: what".
[[noreturn]] void refuse_model(const std::string& where, const std::string& what);

/// A config.json, or an object in it, with typed access; null counts as absent but to absent(). Errors:
/// kBadData names the file, the key, what was found and what was wanted. Borrows the object.
class ConfigKeys {
 public:
  ConfigKeys(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}
  const std::string& where() const { return where_; }
  /// nullptr where the key is absent.
  const nlohmann::json* find(const char* key) const;
  bool has(const char* key) const { return find(key) != nullptr; }
  /// The key is not there, not even as null: transformers then takes the default of the family's class.
  bool absent(const char* key) const;
  /// 0 or more.
  std::optional<std::int64_t> integer(const char* key) const;
  /// 1 or more; the key must be there.
  std::int64_t required(const char* key) const;
  double real(const char* key, double otherwise) const;
  bool boolean(const char* key, bool otherwise) const;
  std::optional<std::string> text(const char* key) const;
  /// Of numbers; empty where the key is absent.
  std::vector<double> reals(const char* key) const;
  /// Of integers of 0 or more; empty where the key is absent.
  std::vector<std::int64_t> integers(const char* key) const;
  /// An object in it; an empty one where the key is absent.
  ConfigKeys object(const char* key) const;
  [[noreturn]] void refuse(const std::string& what) const { refuse_model(where_, what); }

 private:
  std::int64_t integer_of(const nlohmann::json& value, const char* key) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace llm_tp

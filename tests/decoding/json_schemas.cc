#include "json_schemas.h"

namespace llm_tp {
namespace {

using Json = nlohmann::ordered_json;

std::size_t code_points(const std::string& text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  return count;
}

}  // namespace

Json random_schema(std::mt19937& random, int depth) {
  const auto below = [&](unsigned n) { return random() % n; };
  switch (below(depth > 0 ? 9 : 6)) {
    case 0:
      return {{"type", "integer"}};
    case 1:
      return {{"type", "number"}};
    case 2:
      return {{"type", below(2) == 0 ? "boolean" : "null"}};
    case 3: {
      const unsigned least = below(3);
      return {{"type", "string"}, {"minLength", least}, {"maxLength", least + below(6)}};
    }
    case 4:
      return {{"enum", Json::array({"red", 5, nullptr, Json::array({1, "x"}), "gr\"ün"})}};
    case 5:
      return {{"const", Json::object({{"k", below(10)}, {"l", "\n"}})}};
    case 6: {
      const unsigned least = below(2);
      return {{"type", "array"},
              {"items", random_schema(random, depth - 1)},
              {"minItems", least},
              {"maxItems", least + below(3)}};
    }
    case 7:
      return {{"anyOf", Json::array({random_schema(random, depth - 1), random_schema(random, depth - 1)})}};
    default:
      break;
  }
  Json properties = Json::object(), required = Json::array();
  for (unsigned i = 0, n = below(5); i < n; ++i) {
    const std::string name = std::string(1, static_cast<char>('a' + i)) + (below(2) == 0 ? "" : " \"é");
    properties[name] = random_schema(random, depth - 1);
    if (below(2) == 0) required.push_back(name);
  }
  return {{"type", "object"},
          {"properties", properties},
          {"required", required},
          {"additionalProperties", false}};
}

bool fits(const Json& value, const Json& schema) {
  if (schema.contains("const")) return value == schema.at("const");
  if (schema.contains("enum")) {
    for (const Json& one : schema.at("enum"))
      if (value == one) return true;
    return false;
  }
  if (schema.contains("anyOf")) {
    for (const Json& one : schema.at("anyOf"))
      if (fits(value, one)) return true;
    return false;
  }
  const std::string type = schema.at("type");
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "string") {
    if (!value.is_string()) return false;
    const std::size_t length = code_points(value.get<std::string>());
    return length >= schema.at("minLength").get<std::size_t>() &&
           length <= schema.at("maxLength").get<std::size_t>();
  }
  if (type == "array") {
    if (!value.is_array() || value.size() < schema.at("minItems").get<std::size_t>() ||
        value.size() > schema.at("maxItems").get<std::size_t>())
      return false;
    for (const Json& item : value)
      if (!fits(item, schema.at("items"))) return false;
    return true;
  }
  if (!value.is_object()) return false;
  for (const Json& name : schema.at("required"))
    if (!value.contains(name.get<std::string>())) return false;
  for (const auto& [key, item] : value.items())
    if (!schema.at("properties").contains(key) || !fits(item, schema.at("properties").at(key))) return false;
  return true;
}

}  // namespace llm_tp

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "decoding/grammar/frontends.h"

namespace llm_tp {
namespace {

using Node = Grammar::Node;
using Json = nlohmann::ordered_json;

constexpr int kDeepest = 64;
const std::set<std::string> kAnnotations{"$schema",     "$id",        "$comment",    "$defs",
                                         "definitions", "title",      "description", "default",
                                         "examples",    "deprecated", "readOnly",    "writeOnly"};
/// Keywords that act on one type alone.
const std::map<std::string, std::set<std::string>> kOfType{
    {"object", {"properties", "required", "additionalProperties"}},
    {"array", {"items", "minItems", "maxItems"}},
    {"string", {"minLength", "maxLength", "pattern"}},
    {"integer", {}},
    {"number", {}},
    {"boolean", {}},
    {"null", {}}};

class SchemaCompiler {
 public:
  SchemaCompiler(Grammar& grammar, const Json& schema, std::string what)
      : grammar_(grammar), root_(schema), what_(std::move(what)) {}

  Grammar::Rule run() { return rule_for("#", root_); }

 private:
  [[noreturn]] void refuse(const std::string& place, const std::string& why) const {
    throw Error(ExitCode::kUsage, what_ + ": at " + place + ": " + why);
  }

  /// One rule a schema that a reference can name, so that schemas may hold themselves.
  Grammar::Rule rule_for(const std::string& place, const Json& schema) {
    const auto known = rules_.find(place);
    if (known != rules_.end()) return known->second;
    const Grammar::Rule rule = rules_[place] = grammar_.declare(place);
    grammar_.define(rule, compile(schema, place, 0));
    return rule;
  }

  Node compile(const Json& schema, const std::string& place, int depth) {
    if (depth > kDeepest) refuse(place, "nested deeper than 64, which is the bound");
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) refuse(place, "false allows nothing");
      return any_value();
    }
    if (!schema.is_object()) refuse(place, "wanted an object, true or false");
    for (const char* whole : {"$ref", "const", "enum", "anyOf"})
      if (schema.contains(whole)) return compile_whole(schema, whole, place, depth);
    std::vector<std::string> types;
    if (schema.contains("type")) {
      const Json& type = schema.at("type");
      for (const Json& t : type.is_array() ? type : Json::array({type})) {
        if (!t.is_string() || !kOfType.contains(t.get<std::string>()))
          refuse(place, "type " + t.dump() + " is not known");
        types.push_back(t.get<std::string>());
      }
    } else {
      for (const auto& [type, keywords] : kOfType)
        if (std::any_of(keywords.begin(), keywords.end(), [&](const auto& k) { return schema.contains(k); }))
          types.push_back(type);
    }
    std::set<std::string> known = kAnnotations;
    known.insert("type");
    for (const std::string& type : types) known.insert(kOfType.at(type).begin(), kOfType.at(type).end());
    require_known(schema, known, place);
    if (types.empty()) return any_value();
    std::vector<Node> branches;
    for (const std::string& type : types) branches.push_back(of_type(type, schema, place, depth));
    return grammar_.alternatives(std::move(branches));
  }

  void require_known(const Json& schema, const std::set<std::string>& known, const std::string& place) const {
    for (const auto& [key, value] : schema.items())
      if (!known.contains(key)) refuse(place, "the keyword \"" + key + "\" is not supported here");
  }

  /// Keywords that say everything, next to annotations and the type.
  Node compile_whole(const Json& schema, const std::string& keyword, const std::string& place, int depth) {
    std::set<std::string> known = kAnnotations;
    known.insert(keyword);
    if (keyword == "const" || keyword == "enum") known.insert("type");
    require_known(schema, known, place);
    const Json& value = schema.at(keyword);
    if (keyword == "$ref") return grammar_.reference(follow(value, place));
    if (keyword == "const") return literal(value);
    if (!value.is_array() || value.empty()) refuse(place, keyword + " wants a list that is not empty");
    std::vector<Node> branches;
    for (std::size_t i = 0; i < value.size(); ++i)
      branches.push_back(keyword == "enum"
                             ? literal(value[i])
                             : compile(value[i], place + "/anyOf/" + std::to_string(i), depth + 1));
    return grammar_.alternatives(std::move(branches));
  }

  Grammar::Rule follow(const Json& reference, const std::string& place) {
    if (!reference.is_string() || !reference.get<std::string>().starts_with("#"))
      refuse(place, "$ref " + reference.dump() +
                        " is not supported: wanted a place in this schema, as #/$defs/name");
    const std::string target = reference.get<std::string>();
    try {
      return rule_for(target, root_.at(Json::json_pointer(target.substr(1))));
    } catch (const Json::exception&) {
      refuse(place, "$ref " + target + " leads nowhere");
    }
  }

  Node of_type(const std::string& type, const Json& schema, const std::string& place, int depth) {
    if (type == "object") return object(schema, place, depth);
    if (type == "array") return array(schema, place, depth);
    if (type == "string") return string(schema, place);
    if (type == "integer") return integer();
    if (type == "number") return number();
    if (type == "boolean") return grammar_.alternatives({grammar_.text("true"), grammar_.text("false")});
    return grammar_.text("null");
  }

  std::int32_t count_of(const Json& schema, const char* key, std::int32_t otherwise,
                        const std::string& place) const {
    const auto at = schema.find(key);
    if (at == schema.end()) return otherwise;
    if (!at->is_number_integer() || at->get<std::int64_t>() < 0 || at->get<std::int64_t>() > 1000000)
      refuse(place, std::string(key) + " is " + at->dump() + ", wanted a whole number, 0 to 1000000");
    return at->get<std::int32_t>();
  }

  Node any_of_bytes(std::string_view set) {
    std::bitset<256> bytes;
    for (const char c : set) bytes.set(static_cast<unsigned char>(c));
    return grammar_.bytes(bytes);
  }
  Node digit() { return any_of_bytes("0123456789"); }

  /// As many digits as a 64-bit number surely holds.
  Node integer() {
    return grammar_.sequence(
        {grammar_.optional(grammar_.text("-")),
         grammar_.alternatives({grammar_.text("0"), grammar_.sequence({any_of_bytes("123456789"),
                                                                       grammar_.repeat(digit(), 0, 17)})})});
  }
  Node number() {
    const Node fraction = grammar_.sequence({grammar_.text("."), grammar_.repeat(digit(), 1, 17)});
    const Node exponent = grammar_.sequence(
        {any_of_bytes("eE"), grammar_.optional(any_of_bytes("+-")), grammar_.repeat(digit(), 1, 2)});
    return grammar_.sequence({integer(), grammar_.optional(fraction), grammar_.optional(exponent)});
  }

  /// One code point of a string's value; \u escapes of surrogates are left out.
  Node character() {
    const Node hex = any_of_bytes("0123456789abcdefABCDEF");
    const Node plain = grammar_.code_points(all_but({{0, 0x1F}, {U'"', U'"'}, {U'\\', U'\\'}}));
    const Node no_surrogate =
        grammar_.alternatives({grammar_.sequence({any_of_bytes("0123456789abcefABCEF"), hex, hex, hex}),
                               grammar_.sequence({any_of_bytes("dD"), any_of_bytes("01234567"), hex, hex})});
    return grammar_.alternatives({plain, grammar_.sequence({grammar_.text("\\"), any_of_bytes("\"\\/bfnrt")}),
                                  grammar_.sequence({grammar_.text("\\u"), no_surrogate})});
  }
  Node quoted(Node inside) { return grammar_.sequence({grammar_.text("\""), inside, grammar_.text("\"")}); }
  Node any_string() { return quoted(grammar_.repeat(character(), 0, Grammar::kUnbounded)); }

  Node string(const Json& schema, const std::string& place) {
    if (schema.contains("pattern")) {
      if (schema.contains("minLength") || schema.contains("maxLength"))
        refuse(place,
               "the keywords \"pattern\" and \"minLength\" or \"maxLength\" are not supported together");
      if (!schema.at("pattern").is_string()) refuse(place, "pattern wants a text");
      return quoted(add_regex(grammar_, schema.at("pattern").get<std::string>(),
                              what_ + " " + place + "/pattern", true));
    }
    const std::int32_t least = count_of(schema, "minLength", 0, place);
    const std::int32_t most = count_of(schema, "maxLength", Grammar::kUnbounded, place);
    if (most != Grammar::kUnbounded && most < least) refuse(place, "maxLength is below minLength");
    return quoted(grammar_.repeat(character(), least, most));
  }

  Node literal(const Json& value) {
    // Written as the rest is: ", " and ": " between.
    if (value.is_array() || value.is_object()) {
      std::vector<Node> parts{grammar_.text(value.is_array() ? "[" : "{")};
      bool first = true;
      for (const auto& [key, item] : value.items()) {
        if (!first) parts.push_back(grammar_.text(", "));
        if (value.is_object()) parts.push_back(grammar_.text(Json(key).dump() + ": "));
        parts.push_back(literal(item));
        first = false;
      }
      parts.push_back(grammar_.text(value.is_array() ? "]" : "}"));
      return grammar_.sequence(std::move(parts));
    }
    return grammar_.text(value.dump());
  }

  Node list_of(Node item, std::int32_t least, std::int32_t most) {
    const Node more = grammar_.sequence({grammar_.text(", "), item});
    const Node filled = grammar_.sequence(
        {item, grammar_.repeat(more, std::max(least - 1, 0), most == Grammar::kUnbounded ? most : most - 1)});
    return least == 0 ? grammar_.optional(filled) : filled;
  }

  Node array(const Json& schema, const std::string& place, int depth) {
    const std::int32_t least = count_of(schema, "minItems", 0, place);
    const std::int32_t most = count_of(schema, "maxItems", Grammar::kUnbounded, place);
    if (most != Grammar::kUnbounded && most < least) refuse(place, "maxItems is below minItems");
    if (most == 0) return grammar_.text("[]");
    const Node item =
        schema.contains("items") ? compile(schema.at("items"), place + "/items", depth + 1) : any_value();
    return grammar_.sequence({grammar_.text("["), list_of(item, least, most), grammar_.text("]")});
  }

  Node object(const Json& schema, const std::string& place, int depth) {
    const Json none = Json::object();
    const Json& properties = schema.contains("properties") ? schema.at("properties") : none;
    if (!properties.is_object()) refuse(place, "properties wants an object");
    std::set<std::string> required;
    if (schema.contains("required")) {
      if (!schema.at("required").is_array()) refuse(place, "required wants a list of names");
      for (const Json& name : schema.at("required")) {
        if (!name.is_string()) refuse(place, "required wants a list of names");
        if (!properties.contains(name.get<std::string>()))
          refuse(place, "required names \"" + name.get<std::string>() + "\", which properties does not have");
        required.insert(name.get<std::string>());
      }
    }
    const bool closed = schema.contains("additionalProperties") && schema.at("additionalProperties") == false;
    Node members = grammar_.nothing();
    if (!properties.empty()) {
      members = named_members(properties, required, place, depth);
    } else if (!closed) {
      const Node value =
          schema.contains("additionalProperties")
              ? compile(schema.at("additionalProperties"), place + "/additionalProperties", depth + 1)
              : any_value();
      members =
          list_of(grammar_.sequence({any_string(), grammar_.text(": "), value}), 0, Grammar::kUnbounded);
    }
    return grammar_.sequence({grammar_.text("{"), members, grammar_.text("}")});
  }

  /// From the last to the first: what may follow where a member stands before, and where none does.
  Node named_members(const Json& properties, const std::set<std::string>& required, const std::string& place,
                     int depth) {
    std::vector<std::pair<std::string, const Json*>> list;
    for (const auto& [key, value] : properties.items()) list.emplace_back(key, &value);
    Node after_some = grammar_.nothing(), after_none = grammar_.nothing();
    for (std::size_t i = list.size(); i-- > 0;) {
      const auto& [key, value] = list[i];
      const Node member = grammar_.sequence(
          {grammar_.text(Json(key).dump() + ": "), compile(*value, place + "/properties/" + key, depth + 1)});
      const Node rest = shared(after_some, place + "/members/" + key);
      const Node skipped = shared(after_none, place + "/first_members/" + key);
      const Node with_separator = grammar_.sequence({grammar_.text(", "), member, rest});
      const Node first = grammar_.sequence({member, rest});
      const bool must = required.contains(key);
      after_some = must ? with_separator : grammar_.alternatives({with_separator, rest});
      after_none = must ? first : grammar_.alternatives({first, skipped});
    }
    return after_none;
  }

  /// A node that is used several times, as a rule, so that it is compiled once.
  Node shared(Node node, const std::string& name) {
    const Grammar::Rule rule = grammar_.declare(name);
    grammar_.define(rule, node);
    return grammar_.reference(rule);
  }

  Node any_value() {
    if (any_value_ < 0) {
      any_value_ = grammar_.declare("any value");
      const Node value = grammar_.reference(any_value_);
      const Node member = grammar_.sequence({any_string(), grammar_.text(": "), value});
      grammar_.define(
          any_value_,
          grammar_.alternatives(
              {any_string(), number(), grammar_.text("true"), grammar_.text("false"), grammar_.text("null"),
               grammar_.sequence(
                   {grammar_.text("["), list_of(value, 0, Grammar::kUnbounded), grammar_.text("]")}),
               grammar_.sequence(
                   {grammar_.text("{"), list_of(member, 0, Grammar::kUnbounded), grammar_.text("}")})}));
    }
    return grammar_.reference(any_value_);
  }

  Grammar& grammar_;
  const Json& root_;
  std::string what_;
  std::map<std::string, Grammar::Rule> rules_;
  Grammar::Rule any_value_ = -1;
};

Grammar::Rule add_schema_rule(Grammar& grammar, std::string_view schema, const std::string& name) {
  Json parsed;
  try {
    parsed = Json::parse(schema);
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kUsage, name + ": " + error.what());
  }
  return SchemaCompiler(grammar, parsed, name).run();
}

}  // namespace

Grammar grammar_of_json_schema(std::string_view schema, const std::string& name) {
  Grammar grammar;
  grammar.set_start(add_schema_rule(grammar, schema, name));
  return grammar;
}

Grammar::Node add_json_schema(Grammar& grammar, std::string_view schema, const std::string& name) {
  return grammar.reference(add_schema_rule(grammar, schema, name));
}

}  // namespace llm_tp

// What /openapi.json promises is what bodies are read by, and what the documentation names.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "serve/api.h"
#include "serve/api_error.h"
#include "serve/json_text.h"
#include "serve/openai_request.h"

namespace llm_tp {
namespace {

const std::map<Endpoint, Json>& smallest_bodies() {
  static const std::map<Endpoint, Json> bodies{
      {Endpoint::kCompletions, {{"prompt", "a"}}},
      {Endpoint::kChatCompletions, {{"messages", {{{"role", "user"}, {"content", "a"}}}}}},
      {Endpoint::kEmbeddings, {{"input", "a"}}}};
  return bodies;
}

Json fields_of(Endpoint endpoint) {
  const Json document = Json::parse(openapi_document());
  return document["paths"][path_of(endpoint)]["post"]["requestBody"]["content"]["application/json"]["schema"]
                 ["properties"];
}

/// What is said of a body with that field; empty where it is taken.
std::string refusal(Endpoint endpoint, const std::string& field, const Json& value) {
  Json body = smallest_bodies().at(endpoint);
  body[field] = value;
  try {
    parse_api_request(endpoint, body.dump());
    return {};
  } catch (const ApiError& error) {
    return error.what();
  }
}

/// Of `this_one` and `this_one.of_it`: this_one.
std::vector<std::string> quoted_names(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t at = 0; (at = text.find('`', at)) != std::string::npos;) {
    const std::size_t end = text.find('`', ++at);
    const std::string quoted = text.substr(at, end - at), name = quoted.substr(0, quoted.find('.'));
    if (!name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos)
      names.push_back(name);
    at = end == std::string::npos ? end : end + 1;
  }
  return names;
}

TEST(OpenApi, EveryFieldThatItNamesIsRead) {
  for (const auto& [endpoint, body] : smallest_bodies()) {
    EXPECT_NE(refusal(endpoint, "temprature", 1).find("no field of this request"), std::string::npos);
    const Json fields = fields_of(endpoint);
    for (const auto& [field, schema] : fields.items())
      EXPECT_EQ(refusal(endpoint, field, Json::array({Json::array()})).find("no field of this request"),
                std::string::npos)
          << path_of(endpoint) << " " << field;
  }
}

TEST(OpenApi, NumbersHaveTheRangesThatItGives) {
  int seen = 0;
  for (const auto& [endpoint, body] : smallest_bodies()) {
    const Json fields = fields_of(endpoint);
    for (const auto& [field, schema] : fields.items()) {
      if (!schema.contains("maximum") || field == "seed") continue;  // a seed is any whole number
      ++seen;
      for (const double outside : {schema["minimum"].get<double>() - 1, schema["maximum"].get<double>() + 1})
        EXPECT_NE(refusal(endpoint, field, static_cast<std::int64_t>(outside)).find(" from "),
                  std::string::npos)
            << path_of(endpoint) << " " << field << " " << outside;
    }
  }
  EXPECT_GT(seen, 30);
}

TEST(OpenApi, FieldsThatTheDocumentationNamesAreInIt) {
  std::ifstream file(LLM_TP_SOURCE_DIR "/docs/serving.md");
  int rows = 0;
  for (std::string line; std::getline(file, line);)
    for (const auto& [endpoint, body] : smallest_bodies()) {
      if (!line.starts_with(std::string("| `POST ") + path_of(endpoint) + "`")) continue;
      ++rows;
      const Json fields = fields_of(endpoint);
      for (const std::string& name : quoted_names(line.substr(line.find('|', 2))))
        EXPECT_TRUE(fields.contains(name)) << path_of(endpoint) << " " << name;
    }
  EXPECT_EQ(rows, 3);
}

}  // namespace
}  // namespace llm_tp

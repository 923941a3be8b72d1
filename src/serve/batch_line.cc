#include "serve/batch_line.h"

#include <algorithm>
#include <array>

#include "serve/api_error.h"
#include "serve/body_reader.h"
#include "serve/random_id.h"

namespace llm_tp {

std::string custom_id_of(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return {};
  const auto id = json.find("custom_id");
  return id != json.end() && id->is_string() ? id->get<std::string>() : std::string();
}

BatchLine parse_batch_line(const std::string& line) {
  const Json json = parse_body(line);
  BodyReader reader(json);
  BatchLine parsed;
  parsed.custom_id = reader.text("custom_id").value_or("");
  if (parsed.custom_id.empty()) reader.fail("custom_id", "is missing; wanted a text that no other line has");
  if (reader.text("method").value_or("POST") != "POST") reader.fail("method", "wanted POST");
  const std::string url = reader.text("url").value_or("");
  const Json* body = reader.find("body");
  if (body == nullptr || !body->is_object()) reader.fail("body", "wanted an object");
  reader.finish();
  constexpr std::array kEndpoints{Endpoint::kCompletions, Endpoint::kChatCompletions, Endpoint::kEmbeddings};
  const auto endpoint = std::find_if(kEndpoints.begin(), kEndpoints.end(),
                                     [&](Endpoint known) { return url == path_of(known); });
  if (endpoint == kEndpoints.end())
    throw ApiError(404, "url: wanted /v1/completions, /v1/chat/completions or /v1/embeddings", "url");
  parsed.endpoint = *endpoint;
  parsed.body = to_text(*body);
  return parsed;
}

std::string batch_record(const std::string& custom_id, const std::string& answer_body) {
  // The body is JSON already: it is not parsed again, only put in its place.
  return "{\"id\":\"" + random_id("batch_req_") + "\",\"custom_id\":" + to_text(custom_id) +
         ",\"response\":{\"status_code\":200,\"request_id\":\"" + random_id("req_") +
         "\",\"body\":" + answer_body + "},\"error\":null}";
}

std::string batch_refusal(std::int64_t line, const std::string& custom_id, int status,
                          const std::string& body) {
  const Json refusal = Json::parse(body);
  return to_text({{"line", line},
                  {"custom_id", custom_id.empty() ? Json() : Json(custom_id)},
                  {"response", {{"status_code", status}, {"body", refusal}}},
                  {"error", refusal.at("error")}});
}

}  // namespace llm_tp

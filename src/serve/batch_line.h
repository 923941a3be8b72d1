#pragma once
#include <cstdint>
#include <string>

#include "serve/openai_request.h"

namespace llm_tp {

/// One line of a batch input.
struct BatchLine {
  std::string custom_id;
  Endpoint endpoint = Endpoint::kCompletions;
  std::string body;  // JSON, not looked at
};

/// Finds a line's custom_id, so that a refusal can name it; empty where it has none.
std::string custom_id_of(const std::string& line);
/// Errors: ApiError 400, 404 for another url.
BatchLine parse_batch_line(const std::string& line);

/// A record of the output: the answer as HTTP would have given it.
std::string batch_record(const std::string& custom_id, const std::string& answer_body);
/// A record of the error file. body: of the refusal.
std::string batch_refusal(std::int64_t line, const std::string& custom_id, int status,
                          const std::string& body);

}  // namespace llm_tp

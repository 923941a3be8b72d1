#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace llm_tp {

/// Keeps the order of keys: chat templates print tools as they came.
using Json = nlohmann::ordered_json;

/// One line; numbers that are not finite become null, bytes that are no UTF-8 become U+FFFD.
inline std::string to_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace llm_tp

#pragma once
#include <cstdio>
#include <nlohmann/json.hpp>

namespace llm_tp {

using Json = nlohmann::ordered_json;

/// One object on one line; numbers that are not finite become null, bytes that are no UTF-8 become U+FFFD.
inline void print_json(const Json& object) {
  const std::string text = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace llm_tp

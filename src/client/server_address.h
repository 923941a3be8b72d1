#pragma once
#include <cstdint>
#include <string>

namespace llm_tp {

struct ServerAddress {
  std::string host;
  std::uint16_t port = 80;
};

/// Errors: kUsage for what is not http://HOST[:PORT], with or without a slash at its end.
ServerAddress parse_server_address(const std::string& url);

}  // namespace llm_tp

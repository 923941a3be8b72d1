#include "client/server_address.h"

#include <charconv>

#include "base/error.h"

namespace llm_tp {

ServerAddress parse_server_address(const std::string& url) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ExitCode::kUsage, "--url " + url.substr(0, 200) + ": " + why + "; wanted http://HOST:PORT");
  };
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://")) refuse("TLS is not spoken here: measure the server behind it");
  if (!url.starts_with(kScheme)) refuse("another scheme");
  std::string rest = url.substr(kScheme.size());
  if (rest.ends_with('/')) rest.pop_back();
  if (rest.find('/') != std::string::npos) refuse("a path");
  ServerAddress address;
  // [::1]:8000 has its colons in brackets.
  const std::size_t bracket = rest.find(']');
  const std::size_t colon = rest.find(':', bracket == std::string::npos ? 0 : bracket);
  address.host = rest.substr(0, colon);
  if (bracket != std::string::npos && address.host.starts_with('['))
    address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty()) refuse("no host");
  if (colon == std::string::npos) return address;
  const char* const end = rest.data() + rest.size();
  const auto [at, error] = std::from_chars(rest.data() + colon + 1, end, address.port);
  if (error != std::errc() || at != end || address.port == 0) refuse("no port");
  return address;
}

}  // namespace llm_tp

#include "client/server_address.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace llm_tp {
namespace {

TEST(ServerAddress, HasAHostAndAPort) {
  const auto expect = [](const std::string& url, const std::string& host, int port) {
    const ServerAddress address = parse_server_address(url);
    EXPECT_EQ(address.host, host) << url;
    EXPECT_EQ(address.port, port) << url;
  };
  expect("http://127.0.0.1:8000", "127.0.0.1", 8000);
  expect("http://node7:81/", "node7", 81);
  expect("http://node7", "node7", 80);
  expect("http://[::1]:8000/", "::1", 8000);
  expect("http://[fe80::2]", "fe80::2", 80);
}

TEST(ServerAddress, RefusesEverythingElse) {
  for (const char* url : {"", "node7:80", "https://node7", "http://", "http://:80", "http://a:", "http://a:0",
                          "http://a:70000", "http://a:8x", "http://a:80/v1", "ftp://a"})
    EXPECT_THROW(parse_server_address(url), Error) << url;
}

}  // namespace
}  // namespace llm_tp

#include "base/log.h"

#include <gtest/gtest.h>

#include <string>

namespace llm_tp {
namespace {

std::string logged(const std::string& message) {
  testing::internal::CaptureStderr();
  log_error(message);
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesOneLineWithoutControlCharacters) {
  EXPECT_EQ(logged("a\nb\r\x1B[2J\x7F\xC3\xA9"), "llm-tp: error: a b  [2J \xC3\xA9\n");
}

TEST(Log, LeavesOutTheMiddleOfLongMessages) {
  const std::string line = logged("begin" + std::string(100'000, 'x') + "end");
  EXPECT_LT(line.size(), 2100U);
  EXPECT_EQ(line.rfind("llm-tp: error: beginx", 0), 0U);
  EXPECT_NE(line.find("x [98015 bytes left out] x"), std::string::npos) << line;
  EXPECT_EQ(line.substr(line.size() - 5), "xend\n");
}

TEST(Log, CutsNoCodePoint) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "\xE2\x82\xAC";  // the euro sign
  for (const std::string before : {"", "a", "ab"}) {
    const std::string line = logged(before + text);
    const std::string kept = line.substr(0, line.find(" ["));
    EXPECT_EQ(kept.substr(kept.size() - 3), "\xE2\x82\xAC");
    EXPECT_EQ(line.substr(line.find("] ") + 2, 3), "\xE2\x82\xAC");
  }
}

}  // namespace
}  // namespace llm_tp

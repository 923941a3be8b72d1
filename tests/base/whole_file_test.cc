#include "base/whole_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace llm_tp {
namespace {

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(WholeFile, IsReplacedOrLeftAsItWas) {
  const std::string folder = (std::filesystem::temp_directory_path() / "llm_tp_whole_file_XXXXXX").string();
  std::string name = folder;
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const std::string path = name + "/file";
  replace_file(path, "first");
  replace_file(path, "second");
  EXPECT_EQ(content(path), "second");
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
  std::filesystem::create_directory(path + ".new");  // nothing can be written there
  EXPECT_THROW(replace_file(path, "third"), Error);
  EXPECT_EQ(content(path), "second");
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace llm_tp

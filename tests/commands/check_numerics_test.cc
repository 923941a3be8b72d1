// --check-numerics: a number that is not finite is traced to the op and the layer that made it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "command_run.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

using testing::HasSubstr;

constexpr std::size_t kColumn = 5;

/// A golden model with NaN in one row of the second layer's down projection.
void write_broken_model(const TemporaryFolder& folder) {
  const std::filesystem::path golden = golden_folder() + "/models/heads_9_3";
  std::filesystem::copy(golden / "config.json", folder.path() / "config.json");
  std::ifstream in(golden / "model.safetensors", std::ios::binary);
  std::string file{std::istreambuf_iterator<char>(in), {}};
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  const auto header = nlohmann::json::parse(file.substr(8, header_bytes));
  const auto& tensor = header.at("model.layers.1.mlp.down_proj.weight");
  ASSERT_EQ(tensor.at("dtype"), "BF16");
  const auto row_bytes = tensor.at("shape")[1].get<std::size_t>() * 2;
  const std::size_t at =
      8 + header_bytes + tensor.at("data_offsets")[0].get<std::size_t>() + kColumn * row_bytes;
  file[at] = '\xc0', file[at + 1] = '\x7f';
  folder.write("model.safetensors", file);
}

TEST(CheckNumerics, NamesTheOpAndTheLayerOfTheFirstNaN) {
  const TemporaryFolder folder;
  write_broken_model(folder);
  const std::vector<std::string> words{
      "generate",     "--model", folder.path().string(), "--prompt-tokens", "1,2",
      "--max-tokens", "2",       "--check-numerics"};
  const Ended ended = run_command_line(0, words);
  EXPECT_EQ(ended.code, 65) << ended.err;
  ASSERT_EQ(ended.errors().size(), 1U) << ended.err;
  EXPECT_THAT(ended.errors()[0], HasSubstr("check_numerics: linear_roots"));
  EXPECT_THAT(ended.errors()[0], HasSubstr("after the attention of layer 1, has NaN in row 0, column 5"));
}

TEST(CheckNumerics, ChangesNothingWhereAllIsWell) {
  const auto tokens = [](const std::vector<std::string>& more) {
    std::vector<std::string> words{"generate", "--model",      golden_folder() + "/models/heads_9_3",
                                   "--json",   "--ignore-eos", "--prompt-tokens",
                                   "1,2",      "--max-tokens", "6"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = run_command_line(0, words);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.json().at("choices")[0].at("tokens");
  };
  EXPECT_EQ(tokens({"--check-numerics"}), tokens({}));
}

}  // namespace
}  // namespace llm_tp

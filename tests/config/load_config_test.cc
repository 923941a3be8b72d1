#include "config/load_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace llm_tp {
namespace {

/// A file of this test alone, gone at its end.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text)
      : path_(std::filesystem::path(::testing::TempDir()) /
              ("llm_tp_config_" + std::to_string(::getpid()) + "_" + std::to_string(counter_++) + ".yaml")) {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  static inline int counter_ = 0;
  std::filesystem::path path_;
};

std::string expect_error(const ConfigInputs& inputs, ExitCode code) {
  try {
    load_config(inputs);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(LoadConfig, NothingSetIsAllDefaults) {
  const ResolvedConfig resolved = load_config({});
  EXPECT_EQ(resolved.config.command, "generate");
  EXPECT_EQ(resolved.config.prefill_chunk, 512);
  EXPECT_EQ(resolved.config.bench.prompt_tokens, 512);
  EXPECT_FALSE(resolved.config.generation.max_tokens.has_value());
  EXPECT_EQ(resolved.origins.size(), key_table().size());
  for (const auto& [name, origin] : resolved.origins) EXPECT_EQ(origin.text, "default") << name;
}

TEST(LoadConfig, FlagWinsOverVariableOverSetOverFile) {
  const ConfigFile file("# comment\nthreads: 1\n");
  ConfigInputs inputs;
  const auto check = [&](int threads, const std::string& origin) {
    const ResolvedConfig resolved = load_config(inputs);
    EXPECT_EQ(resolved.config.threads, threads);
    EXPECT_EQ(resolved.origins.at("threads").text, origin);
  };
  check(0, "default");
  inputs.file = file.path();
  check(1, file.path().string() + ":2:10");
  inputs.sets = {"threads=2"};
  check(2, "--set");
  inputs.environment = {"LLM_TP_THREADS=3"};
  check(3, "LLM_TP_THREADS");
  inputs.flags = {{"threads", "4"}};
  check(4, "flag --threads");
}

TEST(LoadConfig, EveryYamlTypeIsRead) {
  const ResolvedConfig resolved = load_config_text(
      "model: 007\nkv_memory: 8 GiB\nshares: [1, 1, 0.5]\nthreads: auto\n"
      "generation:\n  stop:\n    - a\n    - \"b\\n\"\n  chat: true\n  stop_token_ids: 1,2\n  eos_token_ids: "
      "5\n"
      "  prompt: |\n    two\n    lines\n  system: ''\n",
      "f.yaml");
  const EngineConfig& config = resolved.config;
  EXPECT_EQ(config.model, "007");
  EXPECT_EQ(config.kv_memory, std::int64_t{8} << 30);
  EXPECT_EQ(config.shares, (std::vector<double>{1, 1, 0.5}));
  EXPECT_EQ(config.generation.stop, (std::vector<std::string>{"a", "b\n"}));
  EXPECT_TRUE(config.generation.chat);
  EXPECT_EQ(config.generation.stop_token_ids, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(config.generation.eos_token_ids, std::vector<TokenId>{5});
  EXPECT_EQ(config.generation.prompt, "two\nlines\n");
  EXPECT_EQ(config.generation.system, "");
  EXPECT_EQ(resolved.origins.at("generation.chat").text, "f.yaml:9:9");
}

TEST(LoadConfig, EmptyFilesAndSectionsSetNothing) {
  for (const char* text :
       {"", "\n\n", "# only a comment\n", "---\n", "generation:\n  # top_p: 1\n", "bench: {}\n"})
    EXPECT_NO_THROW(load_config_text(text, "f.yaml")) << text;
}

TEST(LoadConfig, RepeatedTextsAddUpWithinOneOriginAndReplaceWeakerOnes) {
  ConfigInputs inputs;
  inputs.sets = {"generation.stop=weak"};
  inputs.flags = {
      {"generation.stop", "a"}, {"generation.stop", "b,c"}, {"generation.n", "2"}, {"generation.n", "3"}};
  const ResolvedConfig resolved = load_config(inputs);
  EXPECT_EQ(resolved.config.generation.stop, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_EQ(resolved.config.generation.n, 3);
}

TEST(LoadConfig, WrongFlagsAreUsageErrorsThatNameFlagAndRange) {
  ConfigInputs inputs;
  inputs.flags = {{"generation.temperature", "nan"}};
  std::string message = expect_error(inputs, ExitCode::kUsage);
  EXPECT_TRUE(has(message, "flag --temperature") && has(message, "0 to 100")) << message;
  inputs.flags = {{"generation.top_p", "1.5"}};
  message = expect_error(inputs, ExitCode::kUsage);
  EXPECT_TRUE(has(message, "flag --top-p") && has(message, "\"1.5\"") && has(message, "0 to 1")) << message;
  inputs.flags = {{"threads", "0"}};
  message = expect_error(inputs, ExitCode::kUsage);
  EXPECT_TRUE(has(message, "flag --threads") && has(message, "1 to 1024")) << message;
}

TEST(LoadConfig, WrongSetsAndVariablesAreConfigErrors) {
  ConfigInputs inputs;
  inputs.sets = {"generation.top_p=2"};
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kConfig), "--set: generation.top_p: found \"2\""));
  inputs.sets = {"generation.topp=1"};
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kConfig), "did you mean \"generation.top_p\"?"));
  inputs.sets = {"threads"};
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kUsage), "section.key=value"));
  inputs.sets = {};
  inputs.environment = {"LLM_TP_THREADS=many"};
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kConfig), "LLM_TP_THREADS: threads: found \"many\""));
}

TEST(LoadConfig, VariablesOfSectionsAreReadAndUnknownOnesAreWarnings) {
  ConfigInputs inputs;
  inputs.environment = {"HOME=/", "LLM_TP_GENERATION_TOP_P=0.25", "LLM_TP_THREDS=3", "LLM_TP_ZZZZZZZZZZ=1",
                        "LLM_TP_API_KEY=k"};
  const ResolvedConfig resolved = load_config(inputs);
  EXPECT_EQ(resolved.config.generation.top_p, 0.25);
  EXPECT_EQ(resolved.config.threads, 0);
  ASSERT_EQ(resolved.warnings.size(), 2u);
  EXPECT_TRUE(has(resolved.warnings[0], "did you mean LLM_TP_THREADS?")) << resolved.warnings[0];
  EXPECT_TRUE(has(resolved.warnings[1], "LLM_TP_ZZZZZZZZZZ"));
}

TEST(LoadConfig, StrongerPromptDropsTheOtherKind) {
  ConfigInputs inputs;
  inputs.sets = {"generation.prompt=hello"};
  inputs.flags = {{"generation.prompt_file", "p.txt"}};
  const ResolvedConfig resolved = load_config(inputs);
  EXPECT_FALSE(resolved.config.generation.prompt.has_value());
  EXPECT_EQ(resolved.config.generation.prompt_file, "p.txt");
  inputs.flags.emplace_back("generation.prompt", "again");
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kUsage), "one of the two"));
}

TEST(LoadConfig, MinTokensAboveMaxTokensIsRefusedWhereverEachStands) {
  ConfigInputs inputs;
  inputs.sets = {"generation.max_tokens=3"};
  inputs.flags = {{"generation.min_tokens", "4"}};
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kUsage), "flag --min-tokens"));
}

TEST(LoadConfig, MissingFileIsCode66) {
  ConfigInputs inputs;
  inputs.file = "/nonexistent/x.yaml";
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kMissingFile), "/nonexistent/x.yaml"));
  inputs.file = std::filesystem::path(::testing::TempDir());
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kMissingFile), "folder"));
}

TEST(LoadConfig, EndlessFileIsRefused) {
  ConfigInputs inputs;
  inputs.file = "/dev/zero";
  EXPECT_TRUE(has(expect_error(inputs, ExitCode::kConfig), "1 MiB"));
}

TEST(LoadConfig, EveryFileInConfigsLoads) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LLM_TP_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ConfigInputs inputs;
    inputs.file = entry.path();
    ResolvedConfig resolved;
    EXPECT_NO_THROW(resolved = load_config(inputs)) << entry.path();
    EXPECT_FALSE(resolved.config.model.empty()) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 5);
}

}  // namespace
}  // namespace llm_tp

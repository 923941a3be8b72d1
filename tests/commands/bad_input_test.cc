// Bad input: a clear error line, the exit code that says what to do, and the whole group gone.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "command_run.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const std::string kModel = golden_folder() + "/models/llama2_mha";
const std::string kHarbour = repository_path("models/harbour/hf");

/// One line "llm-tp: error: …" that holds all hints, the code, and nothing on stdout.
void expect_refused(const Ended& ended, int code, const Words& hints) {
  EXPECT_EQ(ended.code, code) << ended.err;
  EXPECT_EQ(ended.out, "");
  ASSERT_EQ(ended.errors().size(), 1U) << ended.err;
  for (const std::string& hint : hints)
    EXPECT_NE(ended.errors()[0].find(hint), std::string::npos) << ended.errors()[0] << "\nlacks " << hint;
}
void expect_refused(const Words& words, int code, const Words& hints) {
  SCOPED_TRACE(testing::PrintToString(words));
  expect_refused(run_command_line(0, words), code, hints);
}

TEST(BadFlags, EndWithUsage) {
  expect_refused({"frobnicate"}, 64, {"frobnicate", "generate"});
  expect_refused({"generate", "--no-such-flag"}, 64, {"--no-such-flag", "--help"});
  expect_refused({"generate", "--model"}, 64, {"--model"});
  expect_refused({"generate", "--modle", kModel}, 64, {"--modle", "did you mean --model?"});
  expect_refused({"generate", "--temprature=1"}, 64, {"did you mean --temperature?"});
  const auto flag = [](const std::string& name, const std::string& value) {
    expect_refused({"generate", "--model", kModel, "--prompt-tokens", "1", name, value}, 64, {name, value});
  };
  flag("--temperature", "nan");
  flag("--top-p", "1.5");
  flag("--threads", "0");
  flag("--page-tokens", "8");
  flag("--max-tokens", "-1");
  flag("--kv-dtype", "f8");
  flag("--kv-memory", "12");
  expect_refused({"inspect", "--model", kModel, "--ranks", "0"}, 64, {"--ranks"});
  expect_refused({"generate"}, 64, {"--model"});
  expect_refused({"score", "--model", kModel}, 64, {"--tokens"});
  expect_refused({"embed", "--model", kModel, "--text", "a"}, 64, {"--tokens"});
  expect_refused({"embed", "--model", kHarbour}, 64, {"--text-file"});
  expect_refused({"embed", "--model", kHarbour, "--text", "a", "--pooling", "cls"}, 64, {"mean", "last"});
}

TEST(BadPrompts, AreRefusedBeforeTheModelIsLoaded) {
  const auto prompt = [](const Words& more, const Words& hints, int code = 64) {
    Words words{"generate", "--model", kModel, "--max-tokens", "2"};
    words.insert(words.end(), more.begin(), more.end());
    expect_refused(words, code, hints);
  };
  prompt({"--prompt-tokens", "1,999999"}, {"999999", "0 to 319"});
  prompt({"--prompt-tokens", "1,-5"}, {"-5", "token ids"});
  prompt({"--prompt-tokens", "1,99999999999999999999"}, {"token ids"});
  prompt({"--prompt-tokens", ""}, {"token ids"});
  prompt({"--prompt-tokens", "1,,2"}, {"token ids"});
  prompt({"--prompt", "text"}, {"no tokenizer", "--prompt-tokens"});
  for (const Words& other :
       {Words{"--prompt", "text"}, {"--chat"}, {"--system", "text"}, {"--prompt-file", "f"}}) {
    Words both{"--prompt-tokens", "1"};
    both.insert(both.end(), other.begin(), other.end());
    prompt(both, {other[0], "--prompt-tokens"});
  }
  prompt({"--max-context", "4", "--prompt-tokens", "1,2,3,4,5,6"}, {"6 tokens", "4", "max_context"});
  prompt({"--max-context", "4", "--prompt-tokens", "1,2,3,4"}, {"4 tokens", "max_context"});
  prompt({"--max-context", "1000000", "--prompt-tokens", "1"}, {"1000000", "2048"});
  prompt({"--prompt-tokens", "1", "--min-tokens", "3"}, {"min_tokens", "found 3", "max_tokens"});
  prompt({"--prompt-tokens", "1", "--stop", "x"}, {"stop", "tokenizer"});
  prompt({"--prompt-tokens", "1", "--eos-token-ids", "100000"}, {"100000", "320"});
}

TEST(BadText, ThatIsNotUtf8NamesTheByteAndItsPlace) {
  const TemporaryFolder folder;
  const std::string file = folder.write("latin1.txt", "caf\xE9 au lait");
  expect_refused({"generate", "--model", kHarbour, "--prompt-file", file}, 64, {"UTF-8", "offset 3"});
  expect_refused({"score", "--model", kHarbour, "--text-file", file}, 64, {"UTF-8", "offset 3"});
  expect_refused({"tokenize", "--model", kHarbour, "--text-file", file}, 64, {"UTF-8", "offset 3"});
  expect_refused(run_command_line(0, {"generate", "--model", kHarbour}, "a\xFF"), 64, {"UTF-8", "offset 1"});
}

TEST(MissingFiles, AreNamed) {
  expect_refused({"generate", "--model", "/no/such/model", "--prompt-tokens", "1"}, 66, {"/no/such/model"});
  expect_refused({"generate", "--config", "/no/such.yaml"}, 66, {"/no/such.yaml"});
  expect_refused({"generate", "--model", kHarbour, "--prompt-file", "/no/such.txt"}, 66, {"/no/such.txt"});
  expect_refused({"generate", "--model", kHarbour, "--prompt-file", "/tmp"}, 65, {"/tmp", "folder"});
  expect_refused({"tokenize", "--model", kModel, "--text", "x"}, 66, {"tokenizer"});
}

TEST(BadYaml, NamesFileLineAndColumn) {
  const TemporaryFolder folder;
  const auto yaml = [&](const std::string& text, const Words& hints) {
    const std::string file = folder.write("job.yaml", text);
    Words all = hints;
    all.push_back(file);
    expect_refused({"generate", "--config", file, "--model", kModel, "--prompt-tokens", "1"}, 78, all);
  };
  yaml("threads: 1\ngeneration:\n  temprature: 0.5\n", {"job.yaml:3:3", "temprature", "temperature"});
  yaml("model: a\nmodel: b\n", {"job.yaml:2:1", "model"});
  yaml("threads: many\n", {"job.yaml:1:10", "many"});
  yaml("page_tokens: 8\n", {"job.yaml:1:14", "multiple of 16"});
  yaml("model: [a\n", {"job.yaml"});
  yaml("shares: [1, 0]\n", {"job.yaml:1:13"});
}

/// A copy of a small model with one file changed.
class BrokenModel {
 public:
  BrokenModel(const std::string& name, const std::string& content) {
    for (const char* file : {"config.json", "generation_config.json", "model.safetensors"})
      if (file != name) fs::copy_file(fs::path(kModel) / file, folder_.path() / file);
    folder_.write(name, content);
  }
  std::string path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(BrokenModels, EndAloneAndInAGroupWithOneLine) {
  const std::string weights = content(kModel + "/model.safetensors"),
                    config = content(kModel + "/config.json");
  std::string wider = config;
  wider.replace(wider.find("\"intermediate_size\": 172"), 24, "\"intermediate_size\": 999");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"model.safetensors", ""},
      {"model.safetensors", weights.substr(0, weights.size() / 2)},
      {"model.safetensors", raw(std::uint64_t{1} << 62) + weights.substr(8)},
      {"model.safetensors", raw(std::uint64_t{1000000}) + std::string(1000000, '[')},
      {"config.json", "{]"},
      {"config.json", wider},
  };
  for (const auto& [file, text] : cases) {
    const BrokenModel model(file, text);
    SCOPED_TRACE(file + " of " + std::to_string(text.size()) + " bytes");
    const Words words{"generate", "--model", model.path(), "--prompt-tokens", "1", "--max-tokens", "2"};
    expect_refused(run_command_line(0, words), 65, {file == "config.json" && text == wider ? "999" : file});
  }
  if (!can_start_ranks()) return;
  const BrokenModel model("model.safetensors", weights.substr(0, 1000));
  expect_refused(run_command_line(3, {"generate", "--model", model.path(), "--prompt-tokens", "1"}), 65,
                 {"model.safetensors"});
}

TEST(Group, RefusesWithOneLineOfAllRanks) {
  if (!can_start_ranks()) GTEST_SKIP() << "ranks cannot be started here: no mpirun, or a sanitizer it lacks";
  expect_refused(run_command_line(3, {"generate", "--no-such-flag"}), 64, {"--no-such-flag"});
  expect_refused(run_command_line(3, {"generate", "--model", kModel, "--prompt-tokens", "1,999"}), 64,
                 {"999"});
  expect_refused(
      run_command_line(2, {"generate", "--model", kModel, "--prompt-tokens", "1", "--shares", "1,1,1"}), 78,
      {"shares", "2 ranks"});
}

TEST(TooLittleMemory, NamesTheRankTheSumsAndTheKnobs) {
  const TemporaryFolder folder;
  nlohmann::json config = nlohmann::json::parse(content(kModel + "/config.json"));
  config["max_position_embeddings"] = 1 << 30;
  folder.write("config.json", config.dump());
  const Words words{"generate",        "--model", "dummy:" + folder.path().string(),
                    "--prompt-tokens", "1",       "--max-tokens",
                    "1000000000",      "--n",     "100"};
  expect_refused(run_command_line(0, words), 71, {"rank 0 needs", "KV cache", "this host", "--max-context"});
  Words limited = words;
  limited.insert(limited.end(), {"--kv-memory", "1GiB"});
  expect_refused(run_command_line(0, limited), 71, {"kv_memory allows 1.00 GiB", "max_tokens"});
}

}  // namespace
}  // namespace llm_tp

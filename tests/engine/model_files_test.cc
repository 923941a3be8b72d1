#include "engine/model_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;

const std::string& golden_model() {
  static const std::string path = golden_folder() + "/models/llama2_mha";
  return path;
}
std::string harbour() { return repository_path("models/harbour/hf"); }

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A copy of a model's folder that a test may break.
class ModelCopy {
 public:
  explicit ModelCopy(const std::string& model) {
    for (const auto& entry : fs::directory_iterator(model))
      fs::copy_file(entry.path(), folder_.path() / entry.path().filename());
  }
  std::string path() const { return folder_.path(); }
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }
  void remove(const std::string& name) const { fs::remove(folder_.path() / name); }

 private:
  TemporaryFolder folder_;
};

void refused(const std::string& model, ExitCode code, const std::vector<std::string>& words) {
  expect_error(code, words, [&] { ModelFiles::open(model, true); });
}

TEST(ModelFiles, OpensFoldersGgufFilesAndDummies) {
  const ModelFiles folder = ModelFiles::open(harbour(), true);
  EXPECT_EQ(folder.name, harbour());
  ASSERT_NE(folder.tokenizer, nullptr);
  EXPECT_FALSE(folder.end_ids.empty());

  const ModelFiles gguf = ModelFiles::open(repository_path("models/harbour/harbour-q8_0.gguf"), true);
  ASSERT_NE(gguf.tokenizer, nullptr);
  EXPECT_EQ(gguf.tokenizer->encode("The lamp is lit.", true),
            folder.tokenizer->encode("The lamp is lit.", true));
  EXPECT_EQ(gguf.shape.hidden, folder.shape.hidden);

  const ModelFiles dummy = ModelFiles::open("dummy:" + golden_model(), true);
  EXPECT_EQ(dummy.tokenizer, nullptr);
  EXPECT_EQ(dummy.weights->find({WeightRole::kEmbedding})->rows, dummy.shape.vocabulary);
}

TEST(ModelFiles, WorkersReadNoTokenizer) { EXPECT_EQ(ModelFiles::open(harbour(), false).tokenizer, nullptr); }

TEST(ModelFiles, AModelWithoutATokenizerIsFine) {
  EXPECT_EQ(ModelFiles::open(golden_model(), true).tokenizer, nullptr);
}

TEST(ModelFiles, AMissingModelOrFileIsNamed) {
  refused("", ExitCode::kUsage, {"--model"});
  refused("/no/such/model", ExitCode::kMissingFile, {"/no/such/model"});
  refused("dummy:/no/such/model", ExitCode::kMissingFile, {"/no/such/model"});
  const ModelCopy no_config(golden_model());
  no_config.remove("config.json");
  refused(no_config.path(), ExitCode::kMissingFile, {"config.json"});
  const ModelCopy no_weights(golden_model());
  no_weights.remove("model.safetensors");
  refused(no_weights.path(), ExitCode::kMissingFile, {"model.safetensors"});
}

TEST(ModelFiles, AFileThatIsNoModelIsBadData) {
  const TemporaryFolder folder;
  refused(folder.write("notes.gguf", "just text"), ExitCode::kBadData, {"notes.gguf"});
}

TEST(ModelFiles, GenerationDefaultsAreThoseOfItsFile) {
  const ModelCopy model(golden_model());
  model.write(
      "generation_config.json",
      R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": [7, 9, 7]})");
  const ModelFiles files = ModelFiles::open(model.path(), true);
  EXPECT_EQ(files.generation.do_sample, true);
  EXPECT_EQ(files.generation.temperature, 0.6);
  EXPECT_EQ(files.generation.top_p, 0.9);
  EXPECT_EQ(files.generation.top_k, 40);
  EXPECT_EQ(files.end_ids, (std::vector<TokenId>{7, 9}));
  model.remove("generation_config.json");
  const ModelFiles plain = ModelFiles::open(model.path(), true);
  EXPECT_FALSE(plain.generation.temperature || plain.generation.do_sample);
}

TEST(ModelFiles, EndIdsOfConfigJsonCountWhereGenerationConfigHasNone) {
  const ModelCopy model(golden_model());
  model.remove("generation_config.json");
  std::string config = content(golden_model() + "/config.json");
  config.replace(config.find("\"eos_token_id\": null"), 20, "\"eos_token_id\": 5");
  model.write("config.json", config);
  EXPECT_EQ(ModelFiles::open(model.path(), true).end_ids, (std::vector<TokenId>{5}));
}

TEST(ModelFiles, RefusesGenerationDefaultsOfAnotherTypeOrOutOfRange) {
  const ModelCopy model(golden_model());
  for (const char* text : {"[",
                           "3",
                           R"({"temperature": "hot"})",
                           R"({"do_sample": 1})",
                           R"({"top_k": "all"})",
                           R"({"top_k": -1})",
                           R"({"top_k": 4294967296})",
                           R"({"temperature": -1})",
                           R"({"top_p": 1.5})",
                           R"({"top_p": -0.1})",
                           R"({"eos_token_id": "</s>"})",
                           R"({"eos_token_id": 100000})",
                           R"({"eos_token_id": -1})",
                           R"({"eos_token_id": [1, 4294967297]})",
                           R"({"eos_token_id": {"id": 2}})",
                           R"({"repetition_penalty": 0})",
                           R"({"typical_p": 2})",
                           R"({"no_repeat_ngram_size": 1.5})",
                           R"({"suppress_tokens": ["a"]})",
                           R"({"bad_words_ids": [1, 2]})",
                           R"({"bad_words_ids": [[]]})",
                           R"({"max_new_tokens": -1})"}) {
    SCOPED_TRACE(text);
    model.write("generation_config.json", text);
    refused(model.path(), ExitCode::kBadData, {});
  }
}

TEST(ModelFiles, ATokenizerLargerThanTheVocabularyIsRefusedWithBothSizes) {
  const ModelCopy model(golden_model());  // of fewer tokens than harbour's tokenizer has
  for (const char* name : {"tokenizer.model", "tokenizer_config.json"})
    model.write(name, content(fs::path(harbour()) / name));
  const auto vocabulary = ModelFiles::open(golden_model(), false).shape.vocabulary;
  refused(model.path(), ExitCode::kBadData, {"1024", std::to_string(vocabulary)});
}

TEST(OpenTokenizer, NeedsTokenizerFilesAlone) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", content(fs::path(harbour()) / "tokenizer.model"));
  EXPECT_EQ(ModelFiles::open_tokenizer(folder.path())->vocabulary_size(), 1024);
}

TEST(OpenTokenizer, SaysWhatIsMissing) {
  expect_error(ExitCode::kUsage, {"--model"}, [] { ModelFiles::open_tokenizer(""); });
  expect_error(ExitCode::kMissingFile, {"/no/such"}, [] { ModelFiles::open_tokenizer("/no/such"); });
  expect_error(ExitCode::kMissingFile, {"tokenizer.json", "tokenizer.model"},
               [] { ModelFiles::open_tokenizer(golden_model()); });
  const TemporaryFolder folder;
  const std::string bare =
      folder.write("bare.gguf", GgufBuilder().string("general.architecture", "llama").file());
  expect_error(ExitCode::kMissingFile, {"bare.gguf", "GGUF vocabulary"},
               [&] { ModelFiles::open_tokenizer(bare); });
}

}  // namespace
}  // namespace llm_tp

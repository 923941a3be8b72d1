#include "test_files.h"
#include "weights/gguf_source.h"
#include "weights/safetensors.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

const std::filesystem::path kHarbour = std::filesystem::path(LLM_TP_SOURCE_DIR) / "models" / "harbour";
constexpr int kLayers = 5;

TEST(Harbour, GgufGivesTheNumbersOfHuggingFaceForEveryTensor) {
  const SafetensorsSource hf(kHarbour / "hf");
  const GgufSource gguf(GgufFile::open(kHarbour / "harbour-bf16.gguf"), true);
  int tensors = 0;
  for (const WeightKey key : keys_of(kLayers)) {
    const auto a = hf.find(key), b = gguf.find(key);
    ASSERT_EQ(a.has_value(), b.has_value()) << huggingface_name(key);
    if (!a) continue;
    ++tensors;
    EXPECT_EQ(a->rows, b->rows) << a->name;
    EXPECT_EQ(a->columns, b->columns) << a->name;
    EXPECT_EQ(as_floats(hf, key), as_floats(gguf, key)) << a->name << " and " << b->name;
  }
  EXPECT_EQ(tensors, 2 + kLayers * 9);
  EXPECT_EQ(hf.parameters(), 1115520);
  EXPECT_EQ(gguf.parameters(), 1115520);
  EXPECT_EQ(gguf.file_bytes(), 2259616);
}

TEST(Harbour, TheFileOfQ8_0HoldsWhatConvertRowMakesOfBf16ToTheBit) {
  const SafetensorsSource hf(kHarbour / "hf");
  const GgufSource gguf(GgufFile::open(kHarbour / "harbour-q8_0.gguf"), true);
  for (const WeightKey key : keys_of(kLayers)) {
    const auto info = hf.find(key);
    if (!info || is_vector(key.role)) continue;
    ASSERT_EQ(gguf.find(key).value().dtype, DType::kQ8_0);
    const std::vector<std::byte> plain = read_whole(hf, key);
    std::vector<std::byte> blocks(
        static_cast<std::size_t>(info->rows * row_bytes(DType::kQ8_0, info->columns)));
    convert_row(info->dtype, plain.data(), DType::kQ8_0, blocks.data(), info->rows * info->columns);
    EXPECT_TRUE(blocks == read_whole(gguf, key)) << info->name;
  }
}

TEST(Harbour, PartsAreSlicesOfTheWholeInEveryFormat) {
  const SafetensorsSource hf(kHarbour / "hf");
  const GgufSource bf16(GgufFile::open(kHarbour / "harbour-bf16.gguf"), true);
  const GgufSource q8_0(GgufFile::open(kHarbour / "harbour-q8_0.gguf"), true);
  for (const WeightSource* source : std::initializer_list<const WeightSource*>{&hf, &bf16, &q8_0})
    for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue, WeightRole::kDown,
                                  WeightRole::kAttentionNorm})
      expect_slices_of_whole(*source, {role, 3});
}

TEST(Harbour, ReleasedTensorsReadTheSameAgain) {
  const SafetensorsSource hf(kHarbour / "hf");
  const GgufSource gguf(GgufFile::open(kHarbour / "harbour-bf16.gguf"), true);
  for (const WeightSource* source : std::initializer_list<const WeightSource*>{&hf, &gguf}) {
    const std::vector<std::byte> before = read_whole(*source, {WeightRole::kEmbedding});
    source->release({WeightRole::kEmbedding});
    source->release({WeightRole::kLmHead});  // there is none
    EXPECT_EQ(read_whole(*source, {WeightRole::kEmbedding}), before);
  }
}

TEST(Harbour, RangesOutsideATensorAreBugs) {
  const GgufSource gguf(GgufFile::open(kHarbour / "harbour-q8_0.gguf"), true);
  std::vector<std::byte> out(1 << 20);
  const WeightKey key{WeightRole::kDown, 0};  // 128 x 384
  expect_error(ExitCode::kBug, {"rows"}, [&] { gguf.read(key, {0, 129}, {0, 32}, out.data()); });
  expect_error(ExitCode::kBug, {"columns"}, [&] { gguf.read(key, {0, 1}, {0, 416}, out.data()); });
  expect_error(ExitCode::kBug, {"block"}, [&] { gguf.read(key, {0, 1}, {0, 16}, out.data()); });
  expect_error(ExitCode::kBug, {"output.weight"}, [&] {
    gguf.read({WeightRole::kLmHead}, {0, 1}, {0, 32}, out.data());
  });
}

TEST(Harbour, MetadataReadsAsItWasWritten) {
  const auto file = GgufFile::open(kHarbour / "harbour-bf16.gguf");
  EXPECT_EQ(file->string("general.architecture"), "llama");
  EXPECT_EQ(file->integer("llama.block_count"), kLayers);
  EXPECT_EQ(file->real("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(file->boolean("tokenizer.ggml.add_space_prefix"), false);
  const auto tokens = file->strings("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.has_value());
  ASSERT_EQ(tokens->size(), 1024u);
  EXPECT_EQ((*tokens)[1], "<s>");
  EXPECT_EQ(file->floats("tokenizer.ggml.scores")->size(), 1024u);
  EXPECT_EQ(file->integers("tokenizer.ggml.token_type")->at(0), 2);
  EXPECT_EQ(file->integer("no.such.key"), std::nullopt);
  expect_error(ExitCode::kBadData, {"general.architecture", "integer"},
               [&] { file->integer("general.architecture"); });
  expect_error(ExitCode::kBadData, {"tokens", "single"}, [&] { file->string("tokenizer.ggml.tokens"); });
}

}  // namespace
}  // namespace llm_tp

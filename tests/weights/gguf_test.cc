#include "weights/gguf.h"

#include <cmath>

#include "test_files.h"
#include "weights/gguf_source.h"

namespace llm_tp {
namespace {

void expect_refused(const std::string& file, const std::vector<std::string>& words) {
  std::vector<std::string> all = words;
  all.emplace_back("x.gguf");
  expect_error(ExitCode::kBadData, all, [&] { GgufFile::parse(bytes_of(file), "x.gguf"); });
}
std::string array(std::uint32_t type, std::uint64_t count, const std::string& elements) {
  return raw(type) + raw(count) + elements;
}

TEST(GgufFile, ReadsValuesOfEveryType) {
  GgufBuilder builder;
  builder.version = 2;
  builder.value("u8", 0, raw(std::uint8_t{200}))
      .value("i8", 1, raw(std::int8_t{-5}))
      .value("u16", 2, raw(std::uint16_t{60000}));
  builder.value("i16", 3, raw(std::int16_t{-300}))
      .u32("u32", 4000000000u)
      .value("i32", 5, raw(std::int32_t{-70000}));
  builder.value("f32", 6, raw(0.5f))
      .value("bool", 7, raw(std::uint8_t{1}))
      .string("string", "four")
      .string("none", "");
  builder.value("u64", 10, raw(~std::uint64_t{0}))
      .value("i64", 11, raw(std::int64_t{-1} << 40))
      .value("f64", 12, raw(0.1));
  builder.value("strings", 9, array(8, 2, GgufBuilder::text("a") + GgufBuilder::text("")));
  builder.value("i16s", 9, array(3, 2, raw(std::int16_t{-1}) + raw(std::int16_t{7})));
  builder.value("f64s", 9, array(12, 1, raw(0.25))).value("empty", 9, array(8, 0, ""));
  builder.value("nested", 9, array(9, 1, array(0, 2, "ab")));
  const std::string bytes = builder.file();
  const GgufFile file = GgufFile::parse(bytes_of(bytes));
  EXPECT_EQ(file.version(), 2u);
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i8"), -5);
  EXPECT_EQ(file.integer("u16"), 60000);
  EXPECT_EQ(file.integer("i16"), -300);
  EXPECT_EQ(file.integer("u32"), 4000000000);
  EXPECT_EQ(file.integer("i32"), -70000);
  EXPECT_EQ(file.integer("i64"), std::int64_t{-1} << 40);
  EXPECT_EQ(file.real("f32"), 0.5);
  EXPECT_EQ(file.real("f64"), 0.1);
  EXPECT_EQ(file.real("i8"), -5.0);
  EXPECT_EQ(file.boolean("bool"), true);
  EXPECT_EQ(file.string("string"), "four");
  EXPECT_EQ(file.string("none"), "");
  EXPECT_EQ(file.strings("strings"), (std::vector<std::string_view>{"a", ""}));
  EXPECT_EQ(file.integers("i16s"), (std::vector<std::int64_t>{-1, 7}));
  EXPECT_EQ(file.floats("f64s"), (std::vector<float>{0.25f}));
  EXPECT_EQ(file.strings("empty")->size(), 0u);
  EXPECT_EQ(file.keys().front(), "u8");
  EXPECT_EQ(file.keys().size(), 18u);
  expect_error(ExitCode::kBadData, {"u64", "2^63"}, [&] { file.integer("u64"); });
  expect_error(ExitCode::kBadData, {"f32", "integer"}, [&] { file.integer("f32"); });
  expect_error(ExitCode::kBadData, {"strings", "integers"}, [&] { file.integers("strings"); });
  expect_error(ExitCode::kBadData, {"i16s", "strings"}, [&] { file.strings("i16s"); });
  expect_error(ExitCode::kBadData, {"u8", "array"}, [&] { file.floats("u8"); });
  expect_error(ExitCode::kBadData, {"nested"}, [&] { file.integers("nested"); });
}

TEST(GgufFile, RefusesEveryTruncation) {
  GgufBuilder builder;
  builder.string("general.architecture", "llama")
      .value("list", 9, array(8, 2, GgufBuilder::text("ab") + GgufBuilder::text("c")));
  builder.f32_tensor("a", {4}, {1, 2, 3, 4}).f32_tensor("b", {2, 4}, std::vector<float>(8, 1.0f));
  const std::string whole = builder.file();
  EXPECT_EQ(GgufFile::parse(bytes_of(whole)).tensors().size(), 2u);
  for (std::size_t size = 0; size < whole.size(); ++size) expect_refused(whole.substr(0, size), {});
}

TEST(GgufFile, RefusesOtherFilesAndVersions) {
  expect_refused("", {"magic"});
  expect_refused("GGML" + std::string(40, '\0'), {"magic"});
  for (const std::uint32_t version : {0u, 1u, 4u}) {
    GgufBuilder builder;
    builder.version = version;
    expect_refused(builder.file(), {"version " + std::to_string(version)});
  }
  GgufBuilder builder;
  builder.version = 3u << 24;
  expect_refused(builder.file(), {"big-endian"});
}

TEST(GgufFile, RefusesCountsBeyondTheFileBeforeTakingMemory) {
  GgufBuilder builder;
  builder.more_tensors = std::uint64_t{1} << 60;
  expect_refused(builder.file(), {"tensors", "bytes are left"});
  builder.more_tensors = 0;
  builder.more_values = ~std::uint64_t{0};
  expect_refused(builder.file(), {"metadata values", "bytes are left"});
  for (const std::uint32_t type : {0u, 6u, 8u, 9u, 12u}) {
    GgufBuilder list;
    list.value("list", 9, array(type, ~std::uint64_t{0} / 4, ""));
    expect_refused(list.file(), {"array elements", "bytes are left"});
  }
  GgufBuilder text;
  text.value("text", 8, raw(~std::uint64_t{0}));
  expect_refused(text.file(), {"a string", "byte"});
}

TEST(GgufFile, RefusesMetadataThatCannotBe) {
  GgufBuilder type;
  type.value("x", 13, raw(std::uint64_t{0}));
  expect_refused(type.file(), {"type 13"});
  GgufBuilder twice;
  twice.u32("x", 1).u32("x", 2);
  expect_refused(twice.file(), {"x is given twice"});
  std::string deep = array(0, 1, "a");
  for (int i = 0; i < 1000; ++i) deep = array(9, 1, deep);
  GgufBuilder nested;
  nested.value("x", 9, deep);
  expect_refused(nested.file(), {"nested"});
  for (const std::uint32_t alignment : {0u, 24u, 1u << 30}) {
    GgufBuilder builder;
    builder.u32("general.alignment", alignment);
    expect_refused(builder.file(), {"general.alignment", std::to_string(alignment)});
  }
}

TEST(GgufFile, RefusesTensorsThatCannotBe) {
  const auto refused = [](const std::vector<std::uint64_t>& extents, std::uint32_t type, std::uint64_t offset,
                          const std::vector<std::string>& words) {
    GgufBuilder builder;
    builder.tensor("first", {8}, 0, 0).tensor("bad", extents, type, offset);
    builder.data.resize(128);
    std::vector<std::string> all = words;
    all.emplace_back("bad");
    expect_refused(builder.file(), all);
  };
  refused({}, 0, 32, {"0 dimensions"});
  refused({1, 1, 1, 1, 1}, 0, 32, {"5 dimensions"});
  refused({std::uint64_t{1} << 63}, 0, 32, {"more numbers"});
  refused({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, 32, {"more numbers"});
  refused({std::uint64_t{1} << 62}, 0, 32, {"needs"});
  refused({8}, 0, 40, {"multiple of 32"});
  refused({8}, 0, 160, {"offset 160"});
  refused({8}, 0, ~std::uint64_t{31}, {"offset"});
  refused({25}, 0, 32, {"needs 100"});
  refused({16}, 8, 32, {"whole blocks of 32", "Q8_0"});
  refused({16}, 0, 0, {"overlaps first"});
  GgufBuilder twice;
  twice.f32_tensor("bad", {8}, std::vector<float>(8)).f32_tensor("bad", {8}, std::vector<float>(8));
  expect_refused(twice.file(), {"bad is listed twice"});
}

/// q and k of 2 query heads and 1 KV head of 4 rows, with biases; the number of a row is its place in the
/// file.
GgufBuilder attention(const std::string& architecture) {
  GgufBuilder builder;
  builder.string("general.architecture", architecture).u32(architecture + ".attention.head_count", 2);
  builder.u32(architecture + ".attention.head_count_kv", 1);
  builder.f32_tensor("blk.0.attn_q.weight", {2, 8}, {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7});
  builder.f32_tensor("blk.0.attn_k.bias", {4}, {0, 1, 2, 3})
      .f32_tensor("blk.0.attn_v.bias", {4}, {0, 1, 2, 3});
  return builder;
}
/// The file lives as long as the source.
struct Opened {
  explicit Opened(const GgufBuilder& builder, bool interleaved = true)
      : path(folder.write("x.gguf", builder.file())), source(GgufFile::open(path), interleaved) {}
  TemporaryFolder folder;
  std::filesystem::path path;
  GgufSource source;
};

TEST(GgufSource, PutsInterleavedRowsOfLlamaInTheOrderOfHuggingFace) {
  const Opened llama(attention("llama"));
  EXPECT_EQ(as_floats(llama.source, {WeightRole::kQuery, 0}),
            (std::vector<float>{0, 0, 2, 2, 1, 1, 3, 3, 4, 4, 6, 6, 5, 5, 7, 7}));
  EXPECT_EQ(as_floats(llama.source, {WeightRole::kKeyBias, 0}), (std::vector<float>{0, 2, 1, 3}));
  EXPECT_EQ(as_floats(llama.source, {WeightRole::kValueBias, 0}), (std::vector<float>{0, 1, 2, 3}));
  expect_slices_of_whole(llama.source, {WeightRole::kQuery, 0});
  expect_slices_of_whole(llama.source, {WeightRole::kKeyBias, 0});
}

TEST(GgufSource, LeavesRowsBeyondTheRotaryPart) {
  GgufBuilder builder = attention("llama");
  builder.u32("llama.rope.dimension_count", 2);
  const Opened llama(builder);
  EXPECT_EQ(as_floats(llama.source, {WeightRole::kKeyBias, 0}), (std::vector<float>{0, 1, 2, 3}));
  GgufBuilder six;
  six.string("general.architecture", "llama")
      .u32("llama.attention.head_count", 1)
      .u32("llama.rope.dimension_count", 4);
  six.f32_tensor("blk.0.attn_k.bias", {6}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(as_floats(Opened(six).source, {WeightRole::kKeyBias, 0}), (std::vector<float>{0, 2, 1, 3, 4, 5}));
}

TEST(GgufSource, LeavesRowsThatAreNotInterleaved) {
  const Opened qwen(attention("qwen2"), false);
  EXPECT_EQ(as_floats(qwen.source, {WeightRole::kKeyBias, 0}), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(as_floats(qwen.source, {WeightRole::kQuery, 0})[2], 1.0f);
}

TEST(GgufSource, RefusesModelsItCannotRead) {
  const auto refused = [](const GgufBuilder& builder, const std::vector<std::string>& words) {
    expect_error(ExitCode::kBadData, words, [&] { Opened opened(builder); });
  };
  refused(GgufBuilder().string("general.architecture", "llama"), {"head_count 0"});
  const Opened odd(attention("llama").f32_tensor("blk.1.attn_q.weight", {1, 7}, std::vector<float>(7)));
  expect_error(ExitCode::kBadData, {"blk.1.attn_q.weight", "7 rows"}, [&] {
    odd.source.find({WeightRole::kQuery, 1});
  });
}

TEST(GgufSource, ExpertsAreSlicesOfOneTensor) {
  GgufBuilder builder = attention("llama");
  builder.f32_tensor("blk.0.ffn_up_exps.weight", {2, 1, 3}, {0, 1, 10, 11, 20, 21});
  const Opened opened(builder);
  EXPECT_EQ(as_floats(opened.source, {WeightRole::kExpertUp, 0, 0}), (std::vector<float>{0, 1}));
  EXPECT_EQ(as_floats(opened.source, {WeightRole::kExpertUp, 0, 2}), (std::vector<float>{20, 21}));
  expect_error(ExitCode::kBadData, {"blk.0.ffn_up_exps.weight", "no expert 3"}, [&] {
    opened.source.find({WeightRole::kExpertUp, 0, 3});
  });
}

TEST(GgufSource, TypesThatCannotBeComputedWithAreErrorsOnlyWhereUsed) {
  GgufBuilder builder = attention("llama");
  builder.tensor("blk.0.ffn_up.weight", {256, 1}, 16, builder.data.size());
  builder.data.resize(builder.data.size() + 96);
  builder.tensor("blk.0.ffn_down.weight", {256, 1}, 77, builder.data.size());
  builder.f32_tensor("blk.0.ffn_gate.weight", {2, 2, 2}, std::vector<float>(8));
  const Opened opened(builder);
  EXPECT_TRUE(opened.source.find({WeightRole::kQuery, 0}).has_value());
  expect_error(ExitCode::kBadData, {"ffn_up.weight", "IQ2_XXS"}, [&] {
    opened.source.find({WeightRole::kUp, 0});
  });
  expect_error(ExitCode::kBadData, {"ffn_down.weight", "type 77"}, [&] {
    opened.source.find({WeightRole::kDown, 0});
  });
  expect_error(ExitCode::kBadData, {"ffn_gate.weight", "3 dimensions"}, [&] {
    opened.source.find({WeightRole::kGate, 0});
  });
  EXPECT_FALSE(opened.source.find({WeightRole::kLmHead}).has_value());
}

}  // namespace
}  // namespace llm_tp

#include "weights/safetensors.h"

#include "test_files.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

std::vector<SafetensorsTensor> parse(const std::string& file) {
  return parse_safetensors_header(bytes_of(file), "x.safetensors");
}

void expect_refused(const std::string& header, const std::string& data,
                    const std::vector<std::string>& words) {
  std::vector<std::string> all = words;
  all.emplace_back("x.safetensors");
  expect_error(ExitCode::kBadData, all, [&] { parse(safetensors_file(header, data)); });
}
std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" +
         offsets + "]}";
}
std::string nested(std::size_t depth, const std::string& open, const std::string& close) {
  std::string text;
  for (std::size_t i = 0; i < depth; ++i) text += open;
  text += "1";
  for (std::size_t i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(SafetensorsHeader, GivesNameDtypeShapeAndBytes) {
  const std::string header = "{\"__metadata__\":{\"format\":\"pt\",\"n\":[1,{}]}," +
                             tensor("b", "F32", "2,1", "6,14") + "," + tensor("a", "BF16", "3", "0,6") + "," +
                             tensor("empty", "I64", "0,5", "6,6") + "," +
                             tensor("scalar", "F8_E4M3", "", "14,15") + "}  ";
  const auto tensors = parse(safetensors_file(header, std::string(15, 'x')));
  const auto begin = static_cast<std::int64_t>(8 + header.size());
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, "BF16");
  EXPECT_EQ(tensors[0].begin, begin);
  EXPECT_EQ(tensors[0].end, begin + 6);
  EXPECT_EQ(tensors[1].name, "empty");
  EXPECT_EQ(tensors[1].elements, 0);
  EXPECT_EQ(tensors[2].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(tensors[2].begin, begin + 6);
  EXPECT_EQ(tensors[3].elements, 1);
}

TEST(SafetensorsHeader, RefusesAHeaderThatDoesNotFit) {
  for (const std::string& file :
       {std::string(), std::string("1234567"), raw(std::uint64_t{3}) + "{}", raw(~std::uint64_t{0}) + "{}"})
    expect_error(ExitCode::kBadData, {"x.safetensors"}, [&] { parse(file); });
  std::string big = raw((std::uint64_t{100} << 20) + 1) + "{}";
  big.resize((std::size_t{100} << 20) + 100, ' ');
  expect_error(ExitCode::kBadData, {"100 MiB"}, [&] { parse(big); });
}

TEST(SafetensorsHeader, RefusesWhatIsNoJsonObjectInUtf8) {
  for (const char* text : {"", "{", "[]", "[[1]]", "5", "\"a\"", "null", "{} x", "{\"a\"}", "{\"\xff\":1}",
                           "{\"a\":\"\xc3\x28\"}", "\xef\xbb", "{'a':1}"})
    expect_refused(text, "", {});
  expect_refused(std::string("{}\0", 3), "", {});
}

TEST(SafetensorsHeader, RefusesDeepNestingWithoutUsingTheStack) {
  expect_refused("{\"__metadata__\":" + nested(1000000, "{\"a\":", "}") + "}", "", {"nested deeper than 16"});
  expect_refused(nested(1000000, "{\"a\":", "}"), "", {"an object where its format has none"});
  expect_refused("{\"__metadata__\":" + nested(1000000, "[", "]") + "}", "", {"nested deeper than 16"});
  expect_refused("{\"__metadata__\":" + nested(1000000, "[", ""), "", {"nested deeper than 16"});
  expect_refused("{\"__metadata__\":" + nested(16, "[", "]") + "}", "", {"nested deeper than 16"});
  EXPECT_EQ(parse(safetensors_file("{\"__metadata__\":" + nested(15, "[", "]") + "}")).size(), 0u);
}

TEST(SafetensorsHeader, RefusesNamesAndFieldsGivenTwice) {
  const std::string a = tensor("a", "U8", "1", "0,1");
  expect_refused("{" + a + "," + tensor("a", "U8", "1", "1,2") + "}", "xy", {"\"a\"", "twice"});
  expect_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x",
                 {"\"a\"", "dtype twice"});
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", "x",
                 {"shape twice"});
}

TEST(SafetensorsHeader, RefusesFieldsThatAreMissingOrOfAnotherKind) {
  for (const char* field : {R"({})",
                            R"(5)",
                            R"("x")",
                            R"([])",
                            R"([{"dtype":"U8","shape":[1],"data_offsets":[0,1]}])",
                            R"({"shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[1]})",
                            R"({"dtype":1,"shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":["U8"],"shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":{},"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[[1]],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":["1"],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[null],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[1],"data_offsets":[0]})",
                            R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,1]})",
                            R"({"dtype":"U8","shape":[1],"data_offsets":"0,1"})",
                            R"({"dtype":"","shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","shape":[true],"data_offsets":[0,1]})"})
    expect_refused(std::string("{\"bad\":") + field + "}", "x", {"\"bad\""});
}

TEST(SafetensorsHeader, RefusesShapesAndOffsetsThatCannotBe) {
  expect_refused("{" + tensor("a", "Q7", "1", "0,1") + "}", "x", {"\"a\"", "unknown dtype", "Q7"});
  expect_refused("{" + tensor("a", "U8", "-1", "0,1") + "}", "x", {"\"a\"", "-1"});
  expect_refused("{" + tensor("a", "U8", "1", "-1,0") + "}", "x", {"\"a\"", "-1"});
  expect_refused("{" + tensor("a", "U8", "9223372036854775808", "0,1") + "}", "x", {"2^63"});
  expect_refused("{" + tensor("a", "U8", "99999999999999999999", "0,1") + "}", "x", {"\"a\""});
  expect_refused("{" + tensor("a", "U8", "4294967296,4294967296", "0,0") + "}", "", {"\"a\"", "shape"});
  expect_refused("{" + tensor("a", "F64", "2305843009213693952", "0,0") + "}", "", {"\"a\"", "shape"});
  expect_refused("{" + tensor("a", "U8", "1", "1,0") + "}", "x", {"\"a\"", "1 to 0"});
  expect_refused("{" + tensor("a", "U8", "2", "0,2") + "}", "x", {"\"a\"", "the file has 1"});
  expect_refused("{" + tensor("a", "U8", "1", "9223372036854775806,9223372036854775807") + "}", "x",
                 {"\"a\""});
  expect_refused("{" + tensor("a", "F32", "1", "0,2") + "}", "xx", {"\"a\"", "need 4"});
  expect_refused("{" + tensor("a", "U8", "2", "0,2") + "," + tensor("b", "U8", "2", "1,3") + "}", "xyz",
                 {"\"b\"", "overlaps"});
  expect_refused("{" + tensor("a", "U8", "1", "0,1") + "," + tensor("b", "U8", "1", "2,3") + "}", "xyz",
                 {"unused", "\"b\""});
  expect_refused("{" + tensor("a", "U8", "1", "0,1") + "}", "xyz", {"2 bytes after"});
}

TEST(SafetensorsHeader, MessagesStayOneShortLine) {
  const std::string name = "a\\n" + std::string(10000, 'b');
  try {
    parse(safetensors_file("{" + tensor(name, "F32", "1", "0,2") + "}", "xx"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 400u);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

/// model.norm.weight of two numbers, in a file of its own.
std::string norm_file() {
  return safetensors_file("{" + tensor("model.norm.weight", "F32", "2", "0,8") + "}",
                          raw_of(std::vector<float>{1, 2}));
}
std::string head_file() {
  return safetensors_file("{" + tensor("lm_head.weight", "F16", "2,3", "0,12") + "}", std::string(12, '\0'));
}
std::string index_of(const std::string& map) {
  return R"({"metadata":{"total_size":20},"weight_map":{)" + map + "}}";
}

TEST(SafetensorsSource, ReadsShardsThroughTheIndex) {
  const TemporaryFolder folder;
  folder.write("one.safetensors", norm_file());
  folder.write("two.safetensors", head_file());
  folder.write("model.safetensors.index.json",
               index_of(R"("model.norm.weight":"one.safetensors","lm_head.weight":"two.safetensors")"));
  const SafetensorsSource source(folder.path());
  EXPECT_EQ(as_floats(source, {WeightRole::kFinalNorm}), (std::vector<float>{1, 2}));
  EXPECT_EQ(source.find({WeightRole::kFinalNorm})->rows, 1);
  EXPECT_EQ(source.find({WeightRole::kLmHead})->rows, 2);
  EXPECT_EQ(source.find({WeightRole::kLmHead})->dtype, DType::kF16);
  EXPECT_FALSE(source.find({WeightRole::kEmbedding}).has_value());
  EXPECT_EQ(source.parameters(), 8);
  EXPECT_EQ(source.file_bytes(), static_cast<std::int64_t>(norm_file().size() + head_file().size()));
}

TEST(SafetensorsSource, RefusesAnIndexThatDoesNotMatchTheFiles) {
  const TemporaryFolder folder;
  const auto open = [&] { SafetensorsSource source(folder.path()); };
  const auto index = [&](const std::string& text) { folder.write("model.safetensors.index.json", text); };
  expect_error(ExitCode::kMissingFile, {"model.safetensors", folder.path().string()}, open);
  folder.write("one.safetensors", norm_file());
  index(index_of(R"("model.norm.weight":"one.safetensors","lm_head.weight":"two.safetensors")"));
  expect_error(ExitCode::kMissingFile, {"two.safetensors"}, open);
  index(index_of(R"("model.norm.weight":"one.safetensors","lm_head.weight":"one.safetensors")"));
  expect_error(ExitCode::kBadData, {"lm_head.weight", "one.safetensors"}, open);
  index(index_of(R"("model.norm.weight":"one.safetensors","model.norm.weight":"one.safetensors")"));
  expect_error(ExitCode::kBadData, {"model.norm.weight", "twice"}, open);
  folder.write("two.safetensors", norm_file());
  index(index_of(R"("model.norm.weight":"one.safetensors","lm_head.weight":"two.safetensors")"));
  expect_error(ExitCode::kBadData, {"model.norm.weight", "also in one.safetensors"}, open);
  folder.write("two.safetensors", head_file());
  index(index_of(R"("model.norm.weight":"two.safetensors","lm_head.weight":"one.safetensors")"));
  expect_error(ExitCode::kBadData, {"should be in"}, open);
  folder.write("both.safetensors",
               safetensors_file(
                   "{" + tensor("a", "U8", "1", "0,1") + "," + tensor("b", "U8", "1", "1,2") + "}", "xy"));
  index(index_of(R"("a":"both.safetensors")"));
  expect_error(ExitCode::kBadData, {"tensor b", "not in the index"}, open);
}

TEST(SafetensorsSource, RefusesIndexFilesThatLeaveTheFolderOrAreBroken) {
  const TemporaryFolder folder;
  const auto open = [&] { SafetensorsSource source(folder.path()); };
  for (const char* file : {"../x", "/etc/passwd", "..", "", "a/b", "a\\u0000b"}) {
    folder.write("model.safetensors.index.json", index_of("\"a\":\"" + std::string(file) + "\""));
    expect_error(ExitCode::kBadData, {"plain file name"}, open);
  }
  for (const char* text :
       {"", "{}", "[]", R"({"weight_map":5})", R"({"weight_map":[]})", R"({"weight_map":"x"})",
        R"({"weight_map":{"a":5}})", R"({"weight_map":{"a":["x"]}})", R"({"weight_map":{"a":{"b":"x"}}})",
        R"({"weight_map":{},"weight_map":{}})"}) {
    folder.write("model.safetensors.index.json", text);
    expect_error(ExitCode::kBadData, {"model.safetensors.index.json"}, open);
  }
}

TEST(SafetensorsSource, RefusesAnEmptyFile) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", "");
  expect_error(ExitCode::kBadData, {"model.safetensors", "0 bytes"},
               [&] { SafetensorsSource source(folder.path()); });
}

TEST(SafetensorsSource, OtherDtypesAreErrorsOnlyWhereTheModelUsesThem) {
  const TemporaryFolder folder;
  folder.write("model.safetensors",
               safetensors_file("{" + tensor("model.norm.weight", "F32", "1", "0,4") + "," +
                                    tensor("extra", "I64", "1", "4,12") + "," +
                                    tensor("lm_head.weight", "F8_E4M3", "2,2", "12,16") + "," +
                                    tensor("model.embed_tokens.weight", "F32", "1,1,1", "16,20") + "}",
                                std::string(20, '\0')));
  const SafetensorsSource source(folder.path());
  EXPECT_TRUE(source.find({WeightRole::kFinalNorm}).has_value());
  expect_error(ExitCode::kBadData, {"lm_head.weight", "F8_E4M3"},
               [&] { source.find({WeightRole::kLmHead}); });
  expect_error(ExitCode::kBadData, {"embed_tokens", "3 dimensions"},
               [&] { source.find({WeightRole::kEmbedding}); });
}

TEST(WeightNames, AreThoseOfTheFormats) {
  EXPECT_EQ(huggingface_name({WeightRole::kEmbedding}), "model.embed_tokens.weight");
  EXPECT_EQ(huggingface_name({WeightRole::kQueryBias, 12}), "model.layers.12.self_attn.q_proj.bias");
  EXPECT_EQ(huggingface_name({WeightRole::kMlpNorm, 0}), "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(huggingface_name({WeightRole::kExpertUp, 3, 17}), "model.layers.3.mlp.experts.17.up_proj.weight");
  const TensorName own[] = {{WeightRole::kExpertUp, "block_sparse_moe.experts.{}.w3.weight"}};
  EXPECT_EQ(huggingface_name({WeightRole::kExpertUp, 3, 17}, own),
            "model.layers.3.block_sparse_moe.experts.17.w3.weight");
  EXPECT_EQ(huggingface_name({WeightRole::kQuery, 3}, own), "model.layers.3.self_attn.q_proj.weight");
  EXPECT_EQ(gguf_name({WeightRole::kExpertUp, 3, 17}), "blk.3.ffn_up_exps.weight");
  EXPECT_EQ(gguf_name({WeightRole::kLmHead}), "output.weight");
  EXPECT_EQ(gguf_name({WeightRole::kOutput, 3}), "blk.3.attn_output.weight");
  EXPECT_EQ(gguf_name({WeightRole::kDownBias, 3}), "blk.3.ffn_down.bias");
}

}  // namespace
}  // namespace llm_tp

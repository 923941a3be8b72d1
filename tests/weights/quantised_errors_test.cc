// Quantised checkpoints that contradict themselves are refused before any weight is read.
#include "quantised_files.h"

namespace llm_tp {
namespace {

const std::string kGptq = R"({"quant_method": "gptq", "bits": 4, "group_size": 32})";

void refused(const QuantisedFolder& folder, const std::vector<std::string>& words) {
  expect_error(ExitCode::kBadData, words, [&] { folder.open(); });
}
void config_refused(const std::string& config, const std::vector<std::string>& words) {
  QuantisedFolder folder(config);
  folder.tensor("lm_head.weight", "F32", {1, 1}, std::vector<float>{1});
  refused(folder, words);
}

TEST(QuantisationConfig, UnknownKindsAreRefusedByTheirKey) {
  config_refused("3", {"config.json", "quantization_config", "wanted an object"});
  config_refused("{}", {"quantization_config.quant_method", "supported are gptq"});
  config_refused(R"({"quant_method": 4})", {"quant_method", "wanted a string"});
  config_refused(R"({"quant_method": "aqlm"})",
                 {"quantization_config.quant_method", "aqlm", "supported are gptq"});
  config_refused(R"({"quant_method": "bitsandbytes", "load_in_4bit": true})",
                 {"quant_method", "own kernels", "--dtype"});
  config_refused(R"({"quant_method": "gptq", "bits": 3, "group_size": 32})",
                 {"quantization_config.bits is 3"});
  config_refused(R"({"quant_method": "gptq", "bits": 4, "group_size": 16})", {"group_size is 16"});
  config_refused(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"})",
                 {"checkpoint_format"});
  config_refused(R"({"quant_method": "awq", "bits": 8})", {"bits is 8", "supported is 4"});
  config_refused(R"({"quant_method": "awq", "bits": 4, "version": "gemv"})", {"version", "gemv"});
  config_refused(R"({"quant_method": "awq", "bits": 4, "zero_point": false})", {"zero_point"});
  config_refused(R"({"quant_method": "fp8", "fmt": "e5m2"})", {"fmt"});
  config_refused(R"({"quant_method": "fp8", "weight_block_size": [128]})", {"weight_block_size"});
  config_refused(R"({"quant_method": "compressed-tensors", "format": "marlin-24"})", {"format", "marlin-24"});
  config_refused(R"({"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {}})",
                 {"config_groups", "at least one"});
  config_refused(
      R"({"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"a": {}}})",
      {"config_groups.a.weights", "missing"});
  config_refused(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
                     "a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}})",
                 {"config_groups.b.weights", "differs"});
  config_refused(kGptq, {"quantization_config", "no tensor"});
}

TEST(Gptq, GroupsOutOfRangeAreRefused) {
  for (const std::int32_t bad : {-1, 3, 1 << 30}) {
    Integers m(8, 96, 3, 4, 1, 15);
    m.group_of[17] = bad;
    QuantisedFolder folder(kGptq);
    add_gptq(folder, m, 1);
    refused(folder, {"up_proj.g_idx", "column 17", "group " + std::to_string(bad)});
  }
}

TEST(Gptq, TensorsThatContradictEachOtherAreRefused) {
  const Integers m(8, 96, 3, 4, 1, 15);
  QuantisedFolder good(kGptq);
  add_gptq(good, m, 1);
  EXPECT_NO_THROW(good.open());
  const auto broken = [&](const std::function<void(QuantisedFolder&)>& breaks,
                          const std::vector<std::string>& words) {
    QuantisedFolder folder(kGptq);
    add_gptq(folder, m, 1);
    breaks(folder);
    refused(folder, words);
  };
  broken([](auto& f) { f.without(kUpModule + ".scales"); }, {"up_proj.scales", "lacks"});
  broken([](auto& f) { f.without(kUpModule + ".qzeros"); }, {"up_proj.qzeros", "lacks"});
  broken(
      [](auto& f) {
        f.tensor(kUpModule + ".qzeros", "I32", {3, 2}, std::vector<int>(6));
      },
      {"up_proj.qzeros", "[3, 2]", "[3, 1]"});
  broken(
      [](auto& f) {
        f.tensor(kUpModule + ".scales", "F16", {2, 8}, std::vector<std::uint16_t>(16));
      },
      {"up_proj.qzeros", "[2, 1]"});
  broken([](auto& f) { f.tensor(kUpModule + ".g_idx", "I32", {95}, std::vector<int>(95)); },
         {"g_idx", "[95]", "[96]"});
  broken([](auto& f) { f.tensor(kUpModule + ".g_idx", "I64", {96}, std::vector<std::int64_t>(96)); },
         {"g_idx", "dtype I64"});
  broken(
      [](auto& f) {
        f.tensor(kUpModule + ".qweight", "F32", {12, 8}, std::vector<float>(96));
      },
      {"qweight", "dtype F32"});
  QuantisedFolder other(R"({"quant_method": "gptq", "bits": 4, "group_size": 64})");
  add_gptq(other, m, 1);
  refused(other, {"up_proj.scales", "3 groups", "groups of 64"});
}

TEST(CompressedTensors, TensorsThatContradictTheConfigAreRefused) {
  const auto config = [](const std::string& weights) {
    return R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {)" +
           weights + "}}}}";
  };
  QuantisedFolder shape(config(R"("num_bits": 4, "group_size": 32)"));
  shape.tensor(kUpModule + ".weight_packed", "I32", {2, 4}, std::vector<int>(8));
  shape.tensor(kUpModule + ".weight_scale", "F32", {2, 1}, std::vector<float>(2));
  shape.tensor(kUpModule + ".weight_shape", "I64", {2}, std::vector<std::int64_t>{2, 31});
  refused(shape, {"weight_shape", "2 x 31", "2 x 32"});
  shape.tensor(kUpModule + ".weight_shape", "I64", {2}, std::vector<std::int64_t>{2, 32});
  EXPECT_NO_THROW(shape.open());
  shape.tensor(kUpModule + ".weight_scale", "F32", {3, 1}, std::vector<float>(3));
  refused(shape, {"weight_scale", "2 rows"});

  QuantisedFolder narrow(config(R"("num_bits": 4)"));
  narrow.tensor(kUpModule + ".weight", "I8", {1, 32}, std::vector<std::int8_t>(32));
  refused(narrow, {"8-bit integers", "4 bits"});
}

TEST(Fp8, ScalesThatDoNotFitAreRefused) {
  QuantisedFolder folder(R"({"quant_method": "fp8", "weight_block_size": [128, 128]})");
  folder.tensor(kUpModule + ".weight", "F8_E4M3", {2, 32}, std::vector<std::uint8_t>(64));
  refused(folder, {"up_proj.weight_scale", "lacks"});
  folder.tensor(kUpModule + ".weight_scale_inv", "F32", {2, 1}, std::vector<float>(2));
  refused(folder, {"weight_scale_inv", "2 x 1 scales"});
  folder.tensor(kUpModule + ".weight_scale_inv", "F32", {1, 1}, std::vector<float>(1));
  EXPECT_NO_THROW(folder.open());
  folder.tensor(kUpModule + ".weight", "F8_E4M3", {2, 33}, std::vector<std::uint8_t>(66));
  refused(folder, {"up_proj.weight", "multiples of 32"});
}

}  // namespace
}  // namespace llm_tp

// Quantised safetensors checkpoints, written from numbers that are known: what is read equals them.
#include <algorithm>
#include <cmath>

#include "quantised_files.h"

namespace llm_tp {
namespace {

void expect_numbers(const SafetensorsSource& source, const Integers& m, DType dtype) {
  const WeightInfo info = source.find(kUpKey).value();
  EXPECT_EQ(info.dtype, dtype) << name_of(info.dtype);
  ASSERT_EQ(info.rows, m.rows);
  ASSERT_EQ(info.columns, m.columns);
  EXPECT_EQ(as_floats(source, kUpKey), m.numbers());
  expect_slices_of_whole(source, kUpKey);
  EXPECT_EQ(source.parameters(), m.rows * m.columns);
  source.release(kUpKey);
  EXPECT_EQ(as_floats(source, kUpKey), m.numbers());
}

TEST(Gptq, BothWidthsAndBothFormatsOfZeroPoints) {
  for (const int bits : {4, 8}) {
    const Integers m(16, 192, 3, bits, 1, (1 << bits) - 1);
    for (const std::string format : {"gptq", "gptq_v2"}) {
      QuantisedFolder folder(R"({"quant_method": "gptq", "bits": )" + std::to_string(bits) +
                             R"(, "group_size": 64, "checkpoint_format": ")" + format + "\"}");
      add_gptq(folder, m, format == "gptq" ? 1 : 0);
      expect_numbers(folder.open(), m, bits == 4 ? DType::kInt4G64 : DType::kInt8G64);
    }
  }
}

TEST(Gptq, TheStoredZeroPointWrapsNowhere) {
  // 15 stored means 16, which no code reaches; 255 means 256.
  for (const int bits : {4, 8}) {
    const Integers m(8, 32, 1, bits, 1 << bits, 1 << bits);
    QuantisedFolder folder(R"({"quant_method": "gptq", "bits": )" + std::to_string(bits) +
                           R"(, "group_size": 32})");
    add_gptq(folder, m, 1);
    expect_numbers(folder.open(), m, bits == 4 ? DType::kInt4G32 : DType::kInt8G32);
  }
}

TEST(Gptq, WholeRowsInOneGroupAreCutIntoBlocks) {
  const Integers m(8, 384, 1, 4, 1, 15);
  QuantisedFolder folder(R"({"quant_method": "gptq", "bits": 4, "group_size": -1})");
  add_gptq(folder, m, 1);
  expect_numbers(folder.open(), m, DType::kInt4G128);
}

TEST(Gptq, ActOrderKeepsColumnsInPlaceWithTheirGroups) {
  for (const int bits : {4, 8}) {
    Integers m(8, 96, 3, bits, 1, 15);
    std::mt19937 random(3);
    std::shuffle(m.group_of.begin(), m.group_of.end(), random);
    QuantisedFolder folder(R"({"quant_method": "gptq", "bits": )" + std::to_string(bits) +
                           R"(, "group_size": 32, "desc_act": true})");
    add_gptq(folder, m, 1);
    const SafetensorsSource source = folder.open();
    expect_numbers(source, m, bits == 4 ? DType::kInt4Columns : DType::kInt8Columns);
    EXPECT_EQ(*source.find(kUpKey).value().column_groups, m.group_of);
  }
}

TEST(Gptq, ModulesLeftOutStayPlain) {
  const Integers m(8, 32, 1, 4, 1, 15);
  QuantisedFolder folder(R"({"quant_method": "gptq", "bits": 4, "group_size": 32})");
  add_gptq(folder, m, 1);
  folder.tensor("lm_head.weight", "F32", {2, 2}, std::vector<float>{1, 2, 3, 4});
  folder.tensor("model.layers.0.mlp.up_proj.bias", "F32", {2}, std::vector<float>{5, 6});
  const SafetensorsSource source = folder.open();
  EXPECT_EQ(as_floats(source, {WeightRole::kLmHead}), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(as_floats(source, {WeightRole::kUpBias, 0}), (std::vector<float>{5, 6}));
  EXPECT_EQ(source.parameters(), 8 * 32 + 4 + 2);
}

TEST(Awq, NibblesLieInTheOrderOfTheGemmKernel) {
  const Integers m(16, 128, 2, 4, 0, 15);
  const auto in_order = [&](auto value) {
    return [value](std::int64_t line, std::int64_t i) {
      constexpr int kRow[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of nibble i of a word
      return value(line, i / 8 * 8 + kRow[i % 8]);
    };
  };
  QuantisedFolder folder(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "GEMM"})");
  folder.tensor(kUpModule + ".qweight", "I32", {m.columns, m.rows / 8},
                m.words(m.columns, m.rows, in_order([&](auto k, auto r) { return m.code_at(r, k); })));
  folder.tensor(kUpModule + ".qzeros", "I32", {m.groups, m.rows / 8},
                m.words(m.groups, m.rows, in_order([&](auto g, auto r) { return m.zero_at(r, g); })));
  folder.tensor(kUpModule + ".scales", "F16", {m.groups, m.rows}, m.transposed_scales());
  expect_numbers(folder.open(), m, DType::kInt4G64);
}

std::string compressed(const std::string& format, const std::string& weights) {
  return R"({"quant_method": "compressed-tensors", "format": ")" + format +
         R"(", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {)" + weights + "}}}}";
}

TEST(CompressedTensors, PackedIntegersWithAndWithoutZeroPoints) {
  for (const int bits : {4, 8}) {
    for (const bool symmetric : {true, false}) {
      const int middle = 1 << (bits - 1);
      const Integers m(16, 64, 2, bits, symmetric ? middle : 0, symmetric ? middle : 2 * middle - 1);
      QuantisedFolder folder(compressed("pack-quantized", R"("num_bits": )" + std::to_string(bits) +
                                                              R"(, "type": "int", "group_size": 32)"));
      folder.tensor(kUpModule + ".weight_packed", "I32", {m.rows, m.columns * bits / 32},
                    m.words(m.rows, m.columns, [&](auto r, auto k) { return m.code_at(r, k); }));
      folder.tensor(kUpModule + ".weight_scale", "F32", {m.rows, m.groups}, m.scale);
      folder.tensor(kUpModule + ".weight_shape", "I64", {2}, std::vector<std::int64_t>{m.rows, m.columns});
      if (!symmetric)  // neighbouring rows in a word: [rows / n, groups]
      {
        const std::int64_t n = 32 / bits;
        std::vector<std::uint32_t> zeros;
        for (std::int64_t r = 0; r < m.rows; r += n)
          for (std::int64_t g = 0; g < m.groups; ++g) {
            std::uint32_t word = 0;
            for (std::int64_t f = 0; f < n; ++f)
              word |= static_cast<std::uint32_t>(m.zero_at(r + f, g)) << (f * bits);
            zeros.push_back(word);
          }
        folder.tensor(kUpModule + ".weight_zero_point", "I32", {m.rows / n, m.groups}, zeros);
      }
      expect_numbers(folder.open(), m, bits == 4 ? DType::kInt4G32 : DType::kInt8G32);
    }
  }
}

TEST(CompressedTensors, PlainBytesWithAScaleARow) {
  Integers m(8, 64, 1, 8, 128, 128);
  std::vector<std::int8_t> bytes;
  for (const int code : m.code) bytes.push_back(static_cast<std::int8_t>(code - 128));
  QuantisedFolder folder(
      compressed("int-quantized", R"("num_bits": 8, "type": "int", "strategy": "channel")"));
  folder.tensor(kUpModule + ".weight", "I8", {m.rows, m.columns}, bytes);
  folder.tensor(kUpModule + ".weight_scale", "F32", {m.rows, 1}, m.scale);
  expect_numbers(folder.open(), m, DType::kInt8G64);
}

struct Floats {
  std::int64_t rows, columns;
  std::vector<std::uint8_t> bits;
  Floats(std::int64_t n, std::int64_t k) : rows(n), columns(k) {
    std::mt19937 random(5);
    for (std::int64_t i = 0; i < n * k; ++i) {
      const auto byte = static_cast<std::uint8_t>(random());
      bits.push_back((byte & 0x7f) == 0x7f ? 0 : byte);
    }
  }
  std::vector<float> times(const std::function<float(std::int64_t, std::int64_t)>& scale) const {
    std::vector<float> w;
    for (std::int64_t i = 0; i < rows * columns; ++i)
      w.push_back(scale(i / columns, i % columns) * e4m3_to_f32(bits[static_cast<std::size_t>(i)]));
    return w;
  }
};

TEST(Fp8, OneScaleATensorOrARow) {
  const Floats m(6, 128);
  const std::string config = compressed("float-quantized", R"("num_bits": 8, "type": "float")");
  QuantisedFolder one(config), each(config);
  for (QuantisedFolder* folder : {&one, &each})
    folder->tensor(kUpModule + ".weight", "F8_E4M3", {m.rows, m.columns}, m.bits);
  one.tensor(kUpModule + ".weight_scale", "F32", {1}, std::vector<float>{0.3f});
  EXPECT_EQ(as_floats(one.open(), kUpKey), m.times([](auto, auto) { return 0.3f; }));
  std::vector<float> scales;
  for (int r = 0; r < m.rows; ++r) scales.push_back(0.1f + static_cast<float>(r));
  each.tensor(kUpModule + ".weight_scale", "F32", {m.rows, 1}, scales);
  const SafetensorsSource source = each.open();
  EXPECT_EQ(as_floats(source, kUpKey),
            m.times([&](auto r, auto) { return scales[static_cast<std::size_t>(r)]; }));
  EXPECT_EQ(source.find(kUpKey).value().dtype, DType::kFp8G128);
  expect_slices_of_whole(source, kUpKey);
}

TEST(Fp8, BlocksOfRowsAndColumnsMayBeCutShortAtTheEnd) {
  const Floats m(40, 96);
  QuantisedFolder folder(
      R"({"quant_method": "fp8", "weight_block_size": [32, 64], "activation_scheme": "dynamic"})");
  folder.tensor(kUpModule + ".weight", "F8_E4M3", {m.rows, m.columns}, m.bits);
  folder.tensor(kUpModule + ".weight_scale_inv", "F32", {2, 2}, std::vector<float>{1, 3, 5, 7});
  const SafetensorsSource source = folder.open();
  EXPECT_EQ(as_floats(source, kUpKey),
            m.times([](auto r, auto k) { return static_cast<float>(1 + 4 * (r / 32) + 2 * (k / 64)); }));
  EXPECT_EQ(source.find(kUpKey).value().dtype, DType::kFp8G32);
  expect_slices_of_whole(source, kUpKey);
}

}  // namespace
}  // namespace llm_tp

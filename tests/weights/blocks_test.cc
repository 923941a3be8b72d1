// Blocks of random bits and what gguf-py 0.19.0 dequantises them to: tests/golden/blocks.
#include "base/blocks/block.h"

#include <cmath>
#include <set>

#include "test_files.h"
#include "weights/block_formats.h"
#include "weights/ggml_types.h"
#include "weights/gguf.h"

namespace llm_tp {
namespace {

/// blocks.bin: u32 number of the type, u32 blocks, their bytes, their numbers in f32; and so on to the end.
struct Vectors {
  DType dtype = DType::kF32;
  std::string name;
  std::vector<std::byte> blocks;
  std::vector<float> numbers;
};
std::vector<Vectors> all_vectors() {
  std::ifstream file(std::string(LLM_TP_SOURCE_DIR) + "/tests/golden/blocks/blocks.bin", std::ios::binary);
  std::vector<Vectors> all;
  const auto read = [&](void* to, std::size_t bytes) {
    file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
  };
  for (std::uint32_t type = 0, count = 0; read(&type, 4), read(&count, 4), file.good();) {
    Vectors& v = all.emplace_back();
    v.dtype = dtype_of_ggml(type).value();
    v.name = ggml_type_name(type);
    v.blocks.resize(count * static_cast<std::size_t>(block_bytes(v.dtype)));
    v.numbers.resize(count * static_cast<std::size_t>(block_elements(v.dtype)));
    read(v.blocks.data(), v.blocks.size());
    read(v.numbers.data(), v.numbers.size() * sizeof(float));
  }
  return all;
}

TEST(Blocks, EveryGgufFormatDequantisesAsGgufPyDoesToTheBit) {
  std::set<std::string> seen;
  for (const Vectors& v : all_vectors()) {
    std::vector<float> numbers(v.numbers.size());
    decode_row(v.dtype, v.blocks.data(), numbers.data(), static_cast<std::int64_t>(numbers.size()));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      ASSERT_EQ(numbers[i], v.numbers[i]) << v.name << " " << i;
    seen.insert(v.name);
  }
  EXPECT_EQ(seen.size(), 13u);
}

TEST(Blocks, E4m3CoversItsRange) {
  EXPECT_EQ(e4m3_to_f32(0x00), 0.0f);
  EXPECT_EQ(e4m3_to_f32(0x01), 0x1p-9f);  // the least
  EXPECT_EQ(e4m3_to_f32(0x08), 0x1p-6f);  // the least normal one
  EXPECT_EQ(e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_f32(0xb9), -1.125f);
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);  // the largest
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7f)) && std::isnan(e4m3_to_f32(0xff)));
}

}  // namespace
}  // namespace llm_tp

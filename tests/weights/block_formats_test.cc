#include "weights/block_formats.h"

#include <array>
#include <cmath>
#include <random>

#include "test_files.h"

namespace llm_tp {
namespace {

constexpr std::array kAll{DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};

std::vector<float> noise(std::size_t n) {
  std::mt19937 random(5);  // the same everywhere
  std::vector<float> numbers(n);
  for (float& number : numbers) number = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-35f;
  return numbers;
}
std::vector<std::byte> encoded(DType dtype, const std::vector<float>& numbers) {
  std::vector<std::byte> out(
      static_cast<std::size_t>(row_bytes(dtype, static_cast<std::int64_t>(numbers.size()))));
  encode_row(dtype, numbers.data(), out.data(), static_cast<std::int64_t>(numbers.size()));
  return out;
}
std::vector<float> decoded(DType dtype, const std::vector<std::byte>& bytes) {
  const auto n = static_cast<std::int64_t>(bytes.size()) / block_bytes(dtype) * block_elements(dtype);
  std::vector<float> numbers(static_cast<std::size_t>(n));
  decode_row(dtype, bytes.data(), numbers.data(), n);
  return numbers;
}
std::uint16_t half_at(const std::vector<std::byte>& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<int>(bytes[at]) | std::to_integer<int>(bytes[at + 1])
                                                                          << 8);
}
int byte_at(const std::vector<std::byte>& bytes, std::size_t at) { return std::to_integer<int>(bytes[at]); }

TEST(ConvertRow, EveryPairGoesThroughF32) {
  const std::vector<float> numbers = noise(2 * 1024 + 96);  // more than one chunk, and a part of one
  const auto n = static_cast<std::int64_t>(numbers.size());
  for (const DType from : kAll) {
    for (const DType to : kAll) {
      const std::vector<std::byte> in = encoded(from, numbers);
      const std::vector<std::byte> expected = from == to ? in : encoded(to, decoded(from, in));
      std::vector<std::byte> out(expected.size());
      convert_row(from, in.data(), to, out.data(), n);
      EXPECT_EQ(out, expected) << name_of(from) << " to " << name_of(to);
    }
  }
}

TEST(ConvertRow, UnalignedBytesAreRead) {
  const std::vector<float> numbers = noise(64);
  for (const DType from : kAll) {
    const std::vector<std::byte> in = encoded(from, numbers);
    std::vector<std::byte> shifted(in.size() + 1), out(64 * 4 + 1), expected(64 * 4);
    std::copy(in.begin(), in.end(), shifted.begin() + 1);
    convert_row(from, in.data(), DType::kF32, expected.data(), 64);
    convert_row(from, shifted.data() + 1, DType::kF32, out.data() + 1, 64);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + 1)) << name_of(from);
  }
}

TEST(ConvertRow, RefusesPartsOfBlocksAndIntegers) {
  std::array<std::byte, 256> buffer{};
  const auto convert = [&](DType from, DType to, std::int64_t n) {
    convert_row(from, buffer.data(), to, buffer.data(), n);
  };
  expect_error(ExitCode::kBug, {"whole blocks"}, [&] { convert(DType::kF32, DType::kQ8_0, 16); });
  expect_error(ExitCode::kBug, {"whole blocks"}, [&] { convert(DType::kQ4_1, DType::kF32, 33); });
  expect_error(ExitCode::kBug, {"i32"}, [&] { convert(DType::kI32, DType::kF32, 4); });
}

TEST(BlockFormats, Q8_0RoundsHalvesAwayFromZero) {
  std::vector<float> numbers(32, 0.0f);
  numbers[0] = 127.0f;  // the scale is 1
  numbers[1] = 2.5f;
  numbers[2] = -2.5f;
  numbers[3] = 0.49999997f;  // adding a half would round up to 1
  const auto block = encoded(DType::kQ8_0, numbers);
  EXPECT_EQ(half_at(block, 0), 0x3c00);
  EXPECT_EQ(byte_at(block, 2), 127);
  EXPECT_EQ(byte_at(block, 3), 3);
  EXPECT_EQ(byte_at(block, 4), 256 - 3);
  EXPECT_EQ(byte_at(block, 5), 0);
}

TEST(BlockFormats, Q4_0TakesTheSignOfTheFirstOfTheFarthest) {
  std::vector<float> numbers(32, 0.0f);
  numbers[3] = 8.0f;
  numbers[20] = -8.0f;
  numbers[0] = -1.5f;
  const auto block = encoded(DType::kQ4_0, numbers);
  EXPECT_EQ(half_at(block, 0), 0xbc00);           // -1
  EXPECT_EQ(byte_at(block, 2 + 3), 0 | 8 << 4);   // 8 / -1 + 8 = 0; number 19 is 0
  EXPECT_EQ(byte_at(block, 2 + 4), 8 | 15 << 4);  // number 20: 16 is cut to 15
  EXPECT_EQ(byte_at(block, 2 + 0), 10 | 8 << 4);  // 1.5 + 8.5 = 10
  EXPECT_EQ(decoded(DType::kQ4_0, block)[3], 8.0f);
  EXPECT_EQ(decoded(DType::kQ4_0, block)[20], -7.0f);
}

TEST(BlockFormats, Q4_1SpansLeastToMost) {
  std::vector<float> numbers(32, 1.0f);
  numbers[1] = 16.0f;
  numbers[17] = 3.5f;
  const auto block = encoded(DType::kQ4_1, numbers);
  EXPECT_EQ(half_at(block, 0), 0x3c00);
  EXPECT_EQ(half_at(block, 2), 0x3c00);
  EXPECT_EQ(byte_at(block, 4 + 1), 15 | 3 << 4);
  EXPECT_EQ(decoded(DType::kQ4_1, block)[1], 16.0f);
  EXPECT_EQ(decoded(DType::kQ4_1, block)[17], 4.0f);
}

TEST(BlockFormats, ErrorsStayWithinHalfAStep) {
  const std::vector<float> numbers = noise(4096);  // at most 1/16
  const auto worst = [&](DType dtype) {
    const auto back = decoded(dtype, encoded(dtype, numbers));
    float most = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) most = std::max(most, std::fabs(back[i] - numbers[i]));
    return most;
  };
  EXPECT_LT(worst(DType::kQ8_0), 0.0625f / 127 * 0.6f);
  EXPECT_LT(worst(DType::kQ4_0), 0.0625f / 8 * 1.1f);  // the far end on the other side may be cut by one step
  EXPECT_LT(worst(DType::kQ4_1), 0.125f / 15 * 0.6f);
}

TEST(BlockFormats, ZerosStayZerosAndTinyNumbersDoNoHarm) {
  for (const float number : {0.0f, 1e-45f, 1e-40f}) {
    const std::vector<float> numbers(32, number);
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
      for (const float back : decoded(dtype, encoded(dtype, numbers)))
        EXPECT_EQ(back, 0.0f) << name_of(dtype);
  }
}

TEST(BlockFormats, NumbersThatAreNotFiniteStayVisible) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    std::vector<float> numbers(32, 1.0f);
    numbers[7] = bad;
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
      EXPECT_FALSE(std::isfinite(decoded(dtype, encoded(dtype, numbers))[7])) << name_of(dtype) << " " << bad;
  }
}

}  // namespace
}  // namespace llm_tp

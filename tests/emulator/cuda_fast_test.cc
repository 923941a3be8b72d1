// `numerics: fast` on a GPU: products of many tokens take activations in bf16.
#include <gtest/gtest.h>

#include "device_tensor.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"

namespace llm_tp::testing {
namespace {

constexpr LeafCut kCut{5 * 96, 96, 5};
constexpr std::int64_t kRows = 24;

std::vector<float> product(DeviceBackend& ops, DType dtype, const std::vector<float>& x) {
  const std::int64_t tokens = std::ssize(x) / kCut.columns;
  const auto packed = RandomWeight(dtype, kRows, kCut, 7).pack(ops);
  const auto roots = std::ssize(packed->roots());
  DeviceTensor in(ops, x, tokens),
      out(ops, std::vector<float>(static_cast<std::size_t>(roots * tokens * kRows)), roots * tokens);
  ops.linear_roots({out.view.data, DType::kF32, 3, {roots, tokens, kRows, 0}, kRows}, in.view, *packed);
  return out.take();
}

std::vector<float> rounded(std::vector<float> x) {
  for (float& number : x) number = bf16_to_f32(f32_to_bf16(number));
  return x;
}

TEST(CudaFast, ManyTokensAreMultipliedAsIfTheyWereBf16) {
  CudaBackend fast(0, 1, ManyTokensAs::kBf16), whole(0, 1);
  const std::vector<float> x = random_floats(20 * kCut.columns, 3);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    const auto got = bits_of(product(fast, dtype, x));
    EXPECT_EQ(got, bits_of(product(whole, dtype, rounded(x)))) << name_of(dtype);
    EXPECT_NE(got, bits_of(product(whole, dtype, x))) << name_of(dtype);
  }
}

TEST(CudaFast, SumsOfBlocksForMinimaStayWhole) {
  CudaBackend fast(0, 1, ManyTokensAs::kBf16);
  ReferenceBackend exact;
  DeviceTensor x(fast, random_floats(20 * kCut.columns, 3), 20),
      x_there(exact, random_floats(20 * kCut.columns, 3), 20);
  // Minima alone, of one: sums of the inputs.
  const auto of = [](DeviceBackend& ops, const DeviceTensor& in) {
    const auto packed = ops.pack(
        {DType::kQ4_1, kRows, LeafCut::whole(kCut.columns, 32), {0, 1}}, [](Range rows, std::byte* out) {
          for (std::int64_t block = 0; block < rows.size() * kCut.columns / 32; ++block, out += 20) {
            const std::uint16_t factors[2] = {0, f32_to_f16(1.0f)};
            std::memset(out, 0x5a, 20);
            std::memcpy(out, factors, 4);
          }
        });
    DeviceTensor out(ops, std::vector<float>(20 * kRows), 20);
    ops.linear(out.view, in.view, *packed, {});
    return out.take();
  };
  const std::vector<float> got = of(fast, x), want = of(exact, x_there);
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], 1e-5) << i;  // f32 sums of 480 numbers
}

TEST(CudaFast, FewTokensAreMultipliedExactly) {
  CudaBackend fast(0, 1, ManyTokensAs::kBf16), whole(0, 1);
  const std::vector<float> x = random_floats(16 * kCut.columns, 3);
  EXPECT_EQ(bits_of(product(fast, DType::kBF16, x)), bits_of(product(whole, DType::kBF16, x)));
}

}  // namespace
}  // namespace llm_tp::testing

// Every word of kernels/cuda/ptx.cuh by itself: on a GPU its inline assembly, in the emulator what stands for
// it.
#include "gpu/ptx_words.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>
#include <regex>
#include <string>

#include "base/dtype.h"
#include "emulator/device_tensor.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp::testing {
namespace {

class PtxWords : public ::testing::Test {
 protected:
  CudaBackend cuda{0, 1};
  CudaStream stream;  // the backend's own is waited for before and after

  /// Numbers in device memory.
  template <class T>
  class Numbers {
   public:
    Numbers(CudaBackend& cuda, const std::vector<T>& values)
        : cuda_(cuda), count_(values.size()), memory_(cuda.allocate(values.size() * sizeof(T))) {
      cuda.upload(memory_.data(), std::as_bytes(std::span(values)));
      cuda.synchronize();
    }
    T* data() { return reinterpret_cast<T*>(memory_.data()); }
    std::vector<T> take() {
      const std::int64_t floats = static_cast<std::int64_t>(count_ * sizeof(T) / sizeof(float));
      const TensorView host = cuda_.on_host(TensorView::vector(memory_.floats(), floats));
      const auto* values = reinterpret_cast<const T*>(host.data);
      return std::vector<T>(values, values + count_);
    }

   private:
    CudaBackend& cuda_;
    std::size_t count_;
    DeviceBuffer memory_;
  };
  /// run: run_mma or run_mma_f16; bits_of: their operands' of small whole numbers.
  using MmaRun = void (*)(cudaStream_t, float*, const std::uint16_t*, const std::uint16_t*);
  void expect_products(MmaRun run, std::uint16_t (*bits_of)(int));

  template <class T>
  Numbers<T> device(const std::vector<T>& values) {
    return Numbers<T>(cuda, values);
  }
};

std::uint16_t f16_of_small(int value) { return f32_to_f16(static_cast<float>(value)); }
std::uint16_t bf16_of_small(int value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16);
}

void PtxWords::expect_products(MmaRun run, std::uint16_t (*bits_of)(int)) {
  std::vector<std::uint16_t> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[static_cast<std::size_t>(i)] = bits_of(i * 7 % 19 - 9);
  for (int i = 0; i < 128; ++i) b[static_cast<std::size_t>(i)] = bits_of(i * 5 % 13 - 6);
  std::vector<float> d(128);
  std::iota(d.begin(), d.end(), -60.0f);
  auto left = device(a), right = device(b);
  auto sums = device(d);
  run(stream.get(), sums.data(), left.data(), right.data());
  stream.synchronize();
  const std::vector<float> got = sums.take();
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 8; ++c) {
      int sum = r * 8 + c - 60;
      for (int k = 0; k < 16; ++k) sum += ((r * 16 + k) * 7 % 19 - 9) * ((k * 8 + c) * 5 % 13 - 6);
      EXPECT_EQ(got[static_cast<std::size_t>(r * 8 + c)], static_cast<float>(sum)) << r << ", " << c;
    }
}

TEST_F(PtxWords, MmaAddsTheProductOfItsFragments) {
  expect_products(run_mma, bf16_of_small);  // mma_bf16
  expect_products(run_mma_f16, f16_of_small);
}

TEST_F(PtxWords, MatricesAreLoadedRowByRowOrColumnByColumn) {
  std::vector<std::uint16_t> numbers(256);
  std::iota(numbers.begin(), numbers.end(), std::uint16_t{1000});
  auto in = device(numbers);
  auto out = device(std::vector<std::uint32_t>(256));
  run_load_matrices(stream.get(), out.data(), in.data());
  stream.synchronize();
  const std::vector<std::uint32_t> got = out.take();
  for (int lane = 0; lane < 32; ++lane)
    for (int m = 0; m < 4; ++m) {
      const auto at = [&](int row, int column) {
        return static_cast<std::uint32_t>(1000 + m * 64 + row * 8 + column);
      };
      const int of = lane / 4, pair = lane % 4 * 2;
      const auto i = static_cast<std::size_t>(lane * 4 + m);
      EXPECT_EQ(got[i], at(of, pair) | at(of, pair + 1) << 16) << "lane " << lane << ", matrix " << m;
      EXPECT_EQ(got[128 + i], at(pair, of) | at(pair + 1, of) << 16) << "lane " << lane << ", matrix " << m;
    }
}

TEST_F(PtxWords, AsynchronousCopiesAreThereAfterTheWaitForTheirGroup) {
  const std::vector<float> numbers = random_floats(256, 3);
  auto in = device(numbers), out = device(std::vector<float>(256));
  run_copies(stream.get(), out.data(), in.data());
  stream.synchronize();
  EXPECT_EQ(out.take(), numbers);
}

TEST_F(PtxWords, AsynchronousCopiesOrZeros) {
  const std::vector<float> numbers = random_floats(128, 4);
  std::vector<std::uint32_t> copies(32);
  for (std::size_t i = 0; i < 32; ++i) copies[i] = i % 3 == 0 ? 1 : 0;
  auto in = device(numbers), out = device(std::vector<float>(128, 1.0f));
  auto which = device(copies);
  run_copy_or_zeros(stream.get(), out.data(), in.data(), which.data());
  stream.synchronize();
  const std::vector<float> got = out.take();
  for (std::size_t i = 0; i < 128; ++i) EXPECT_EQ(got[i], copies[i / 4] != 0 ? numbers[i] : 0.0f) << i;
}

TEST_F(PtxWords, NumbersThatAreReadOnceAreWhole) {
  std::vector<uint4> wide(32);
  std::vector<uint2> narrow(32);
  for (unsigned i = 0; i < 32; ++i) {
    wide[i] = {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3};
    narrow[i] = {2 * i + 500, 2 * i + 501};
  }
  auto from_wide = device(wide), to_wide = device(std::vector<uint4>(32));
  auto from_narrow = device(narrow), to_narrow = device(std::vector<uint2>(32));
  run_load_once(stream.get(), to_wide.data(), from_wide.data(), to_narrow.data(), from_narrow.data());
  stream.synchronize();
  const std::vector<uint4> got_wide = to_wide.take();
  const std::vector<uint2> got_narrow = to_narrow.take();
  for (unsigned i = 0; i < 32; ++i) {
    EXPECT_EQ(got_wide[i].x, 4 * i);
    EXPECT_EQ(got_wide[i].y, 4 * i + 1);
    EXPECT_EQ(got_wide[i].z, 4 * i + 2);
    EXPECT_EQ(got_wide[i].w, 4 * i + 3);
    EXPECT_EQ(got_narrow[i].x, 2 * i + 500);
    EXPECT_EQ(got_narrow[i].y, 2 * i + 501);
  }
}

TEST_F(PtxWords, WhoSeesAReleasedWordSeesWhatCameBefore) {
  std::vector<std::uint32_t> values(32);
  std::iota(values.begin(), values.end(), 40u);
  auto numbers = device(values), sent = device(std::vector<std::uint32_t>(32)),
       flag = device(std::vector<std::uint32_t>(1)), out = device(std::vector<std::uint32_t>(32));
  CudaStream other;
  // A kernel that is launched for the first time waits for all others while it is loaded: so once in order
  // before.
  auto sent_before = device(std::vector<std::uint32_t>(32)),
       flag_before = device(std::vector<std::uint32_t>(1));
  run_send(stream.get(), sent_before.data(), flag_before.data(), numbers.data());
  run_receive(stream.get(), out.data(), sent_before.data(), flag_before.data());
  stream.synchronize();
  run_receive(stream.get(), out.data(), sent.data(), flag.data());
  EXPECT_FALSE(stream.is_done());
  run_send(other.get(), sent.data(), flag.data(), numbers.data());
  while (!stream.is_done() || !other.is_done()) sched_yield();
  EXPECT_EQ(out.take(), values);
}

TEST_F(PtxWords, CountsUpAndBeginsAnew) {
  auto word = device(std::vector<std::uint32_t>{0}), were = device(std::vector<std::uint32_t>(96));
  run_count_up(stream.get(), were.data(), word.data(), 9);
  stream.synchronize();
  std::vector<int> times(10);
  for (const std::uint32_t was : were.take()) {
    ASSERT_LT(was, 10u);
    ++times[was];
  }
  EXPECT_EQ(times, (std::vector<int>{10, 10, 10, 10, 10, 10, 9, 9, 9, 9}));
  EXPECT_EQ(word.take()[0], 6u);
}

TEST_F(PtxWords, PowersOfTwoAreExactAtZeroAndMinusInfinityAndCloseElsewhere) {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i) * -3.7f;
  x[1] = -INFINITY;
  auto in = device(x), out = device(std::vector<float>(32));
  run_exp2(stream.get(), out.data(), in.data());
  stream.synchronize();
  const std::vector<float> got = out.take();
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[1], 0.0f);
  for (std::size_t i = 2; i < 32; ++i) {
    const double want = std::exp2(double{x[i]});
    EXPECT_NEAR(got[i], want, want * 0x1p-21) << x[i];
  }
}

TEST_F(PtxWords, QuotientsAreCloseAndZeroOverTheLargestNumbers) {
  std::vector<float> x = random_floats(32, 6, 50.0f), y(32);
  for (int i = 0; i < 32; ++i) y[static_cast<std::size_t>(i)] = 1.0f + std::exp2(static_cast<float>(4 * i));
  y[31] = INFINITY;
  auto above = device(x), below = device(y), out = device(std::vector<float>(32));
  run_divide(stream.get(), out.data(), above.data(), below.data());
  stream.synchronize();
  const std::vector<float> got = out.take();
  for (std::size_t i = 0; i < 31; ++i) {
    const double want = double{x[i]} / double{y[i]};
    EXPECT_NEAR(got[i], want, std::abs(want) * 0x1p-21) << i;
  }
  EXPECT_EQ(got[31], 0.0f);
}

TEST_F(PtxWords, PairsOfBf16AreRoundedToNearestAndTiesToEven) {
  std::vector<float> numbers = random_floats(64, 5, 100.0f);
  // A tie below an even and one below an odd number, the largest, what rounds beyond it, and infinity.
  const std::uint32_t edges[] = {0x3f808000u, 0x3f818000u, 0x7f7f0000u,
                                 0x7f7fffffu, 0xff800000u, 0x00000001u};
  for (std::size_t i = 0; i < std::size(edges); ++i) numbers[i] = std::bit_cast<float>(edges[i]);
  auto in = device(numbers);
  auto out = device(std::vector<std::uint32_t>(32));
  run_bf16_pair(stream.get(), out.data(), in.data());
  stream.synchronize();
  const std::vector<std::uint32_t> got = out.take();
  for (std::size_t i = 0; i < 64; ++i)
    EXPECT_EQ(got[i / 2] >> i % 2 * 16 & 0xffffu, f32_to_bf16(numbers[i])) << numbers[i];
}

TEST_F(PtxWords, FusedBf16SumsAreRoundedOnceAndKeepSmallNumbers) {
  struct Case {
    float a, b, c;
  };
  // What kernels ask of it: differences of small integers, powers of two of subnormal numbers, the sign of
  // zero; then a tie that goes to even, and a product that is not rounded before it is added to.
  std::vector<Case> cases = {{256, -1, 255},
                             {128, -1, 255},
                             {160, -1, 128},
                             {-255, -1, 1},
                             {0x1p-133f, 0x1p120f, -0.0f},
                             {0x7p-130f, 0x1p120f, -0.0f},
                             {-0.0f, 0x1p120f, -0.0f},
                             {144, -1, 144},
                             {256, 1, 1},
                             {258, 1, 1},
                             {129, 129, -16640}};
  cases.resize(64, {3, 5, 7});
  std::vector<std::uint32_t> operands[3];
  for (std::size_t i = 0; i < 64; i += 2) {
    const auto pair = [&](float low, float high) {
      return std::uint32_t{f32_to_bf16(low)} | std::uint32_t{f32_to_bf16(high)} << 16;
    };
    operands[0].push_back(pair(cases[i].a, cases[i + 1].a));
    operands[1].push_back(pair(cases[i].b, cases[i + 1].b));
    operands[2].push_back(pair(cases[i].c, cases[i + 1].c));
  }
  auto a = device(operands[0]), b = device(operands[1]), c = device(operands[2]);
  auto out = device(std::vector<std::uint32_t>(32));
  run_fma_bf16(stream.get(), out.data(), a.data(), b.data(), c.data());
  stream.synchronize();
  const std::vector<std::uint32_t> got = out.take();
  for (std::size_t i = 0; i < 64; ++i) {
    const auto want = f32_to_bf16(std::fmaf(cases[i].a, cases[i].b, cases[i].c));
    EXPECT_EQ(got[i / 2] >> i % 2 * 16 & 0xffffu, want) << "case " << i;
  }
}

TEST_F(PtxWords, WordsAreMaskedAndBitsAreSet) {
  std::vector<std::uint32_t> words(32);
  for (std::size_t i = 0; i < 32; ++i) words[i] = 0x9e3779b9u * static_cast<std::uint32_t>(i + 1);
  auto x = device(words), out = device(std::vector<std::uint32_t>(32));
  run_and_or(stream.get(), out.data(), x.data(), 0x00ff0f3cu, 0x43004301u);
  stream.synchronize();
  const std::vector<std::uint32_t> got = out.take();
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], (words[i] & 0x00ff0f3cu) | 0x43004301u);
}

TEST(PtxWordsOfTheSources, EachHasATestHere) {
  const auto text_of = [](const std::string& path) {
    std::ifstream file(std::string(LLM_TP_SOURCE_DIR) + path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string words = text_of("/kernels/cuda/ptx.cuh"), tested = text_of("/tests/gpu/ptx_words.cu");
  if (words.empty()) GTEST_SKIP() << "the sources are not on this host";
  const std::regex word("__device__ inline [\\w: ]+? (\\w+)\\(");
  int count = 0;
  for (std::sregex_iterator found(words.begin(), words.end(), word), end; found != end; ++found, ++count)
    EXPECT_TRUE(std::regex_search(tested, std::regex("\\b" + (*found)[1].str() + "\\b"))) << (*found)[1];
  EXPECT_GE(count, 11);
}

}  // namespace
}  // namespace llm_tp::testing

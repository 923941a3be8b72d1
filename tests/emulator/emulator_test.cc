// The emulator itself: what a GPU does, and that the mistakes it is there for are caught, with file and line.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/cuda/handles.h"
#include "kernels/cuda/ptx.cuh"

namespace llm_tp {
namespace {

class Emulator : public ::testing::Test {
 protected:
  CudaStream stream;
  StreamMemory memory{stream.get()};

  template <class T>
  T* device(std::size_t count) {
    return reinterpret_cast<T*>(memory.reserve(count * sizeof(T)));
  }
  template <class T>
  std::vector<T> take(const T* from, std::size_t count) {
    PinnedMemory host;
    host.reserve(count * sizeof(T));
    cudaMemcpyAsync(host.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost, stream.get());
    stream.synchronize();
    const auto* values = reinterpret_cast<const T*>(host.data());
    return std::vector<T>(values, values + count);
  }
  template <class... P, class... A>
  void run(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A... arguments) {
    launch("test_kernel", kernel, grid, block, shared, stream.get(), arguments...);
    stream.synchronize();
  }
  /// The message of the Violation that the launch ends with.
  template <class... P, class... A>
  std::string violation(void (*kernel)(P...), dim3 block, std::size_t shared, A... arguments) {
    try {
      run(kernel, 1, block, shared, arguments...);
    } catch (const emulator::Violation& found) {
      return found.what();
    }
    return "nothing was found";
  }
};

/// Without its barrier a thread reads numbers that others have not written yet.
__global__ void block_sum(int* out, bool with_barrier) {
  LLM_TP_SHARED(int, numbers, [64]);
  numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (with_barrier) __syncthreads();
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += numbers[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

TEST_F(Emulator, ThreadsOfABlockMeetAtABarrier) {
  int* out = device<int>(3 * 64);
  run(block_sum, 3, 64, 0, out, true);
  EXPECT_EQ(take(out, 3 * 64), std::vector<int>(3 * 64, 64 * 63 / 2));
}

#ifdef __SANITIZE_THREAD__
TEST_F(Emulator, ASharedNumberReadWithoutABarrierIsARace) {
  int* out = device<int>(64);
  EXPECT_EXIT(
      {
        run(block_sum, 1, 64, 0, out, false);
        std::exit(0);
      },
      ::testing::ExitedWithCode(66), "data race.*(\n.*)*block_sum");
}
/// Blocks of one grid write the same number.
__global__ void write_anywhere(int* out) { out[threadIdx.x] = static_cast<int>(blockIdx.x); }
TEST_F(Emulator, TwoBlocksThatWriteOneNumberAreARace) {
  int* out = device<int>(32);
  EXPECT_EXIT(
      {
        run(write_anywhere, 2, 32, 0, out);
        std::exit(0);
      },
      ::testing::ExitedWithCode(66), "data race.*(\n.*)*write_anywhere");
}
#else
TEST_F(Emulator, ASharedNumberReadTooEarlyIsNotThere) {
  int* out = device<int>(64);
  run(block_sum, 1, 64, 0, out, false);
  EXPECT_NE(take(out, 64), std::vector<int>(64, 64 * 63 / 2));
}
#endif

__global__ void barrier_in_a_branch() {
  if (threadIdx.x < 5) __syncthreads();
}
TEST_F(Emulator, ABarrierThatSomeThreadsNeverReachIsCaught) {
  const std::string found = violation(barrier_in_a_branch, 64, 0);
  EXPECT_NE(found.find("some threads ended while others wait at __syncthreads"), std::string::npos) << found;
  EXPECT_NE(found.find("emulator_test.cc:"), std::string::npos) << found;
}

__global__ void two_barriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
TEST_F(Emulator, DifferentBarriersAreCaught) {
  EXPECT_NE(violation(two_barriers, 64, 0).find("threads wait at different __syncthreads"),
            std::string::npos);
}

__global__ void warp_sums(int* out, std::uint32_t mask, int active) {
  int sum = static_cast<int>(threadIdx.x);
  if (static_cast<int>(threadIdx.x) < active)
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(mask, sum, distance);
  out[threadIdx.x] = sum;
}
TEST_F(Emulator, AWarpAddsUpByShuffles) {
  int* out = device<int>(32);
  run(warp_sums, 1, 32, 0, out, ~0u, 32);
  EXPECT_EQ(take(out, 32), std::vector<int>(32, 32 * 31 / 2));
}
TEST_F(Emulator, AMaskThatNamesAbsentLanesIsCaught) {
  const std::string found = violation(warp_sums, 32, 0, device<int>(32), ~0u, 20);
  EXPECT_NE(found.find("threads wait for each other for ever: thread 0 in a shuffle"), std::string::npos)
      << found;
}
TEST_F(Emulator, ALaneOutsideItsMaskIsCaught) {
  const std::string found = violation(warp_sums, 32, 0, device<int>(32), 0xfffffffeu, 32);
  EXPECT_NE(found.find("not in the mask"), std::string::npos) << found;
}
TEST_F(Emulator, AShuffleFromALaneThatIsNotThereIsCaught) {
  const std::string found = violation(warp_sums, 32, 0, device<int>(32), 0xffffu, 16);
  EXPECT_NE(found.find("lane 0 reads lane 16, which does not take part"), std::string::npos) << found;
}

__global__ void fresh_shared(float* out) {
  LLM_TP_DYNAMIC_SHARED(shared);
  out[threadIdx.x] = reinterpret_cast<float*>(shared)[threadIdx.x];
}
TEST_F(Emulator, SharedMemoryIsNotANumberUntilItIsWritten) {
  float* out = device<float>(32);
  run(fresh_shared, 1, 32, 32 * 4, out);
  for (const float value : take(out, 32)) EXPECT_TRUE(std::isnan(value));
}
#ifdef __SANITIZE_ADDRESS__
TEST_F(Emulator, AnAddressBeyondSharedMemoryIsCaught) {
  EXPECT_DEATH(run(fresh_shared, 1, 32, 31 * 4, device<float>(32)), "heap-buffer-overflow");
}
TEST_F(Emulator, DeviceMemoryIsOutOfReachForTheHost) {
  const volatile float* const far = device<float>(4);
  EXPECT_DEATH(static_cast<void>(far[0]), "use-after-poison");
}
#endif

__global__ void copies(float* out, const float* in, bool waits) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const numbers = reinterpret_cast<float*>(shared);
  copy_async(numbers + 4 * threadIdx.x, in + 4 * threadIdx.x);
  commit_copies();
  if (waits) wait_for_copies<0>();
  out[threadIdx.x] = numbers[4 * threadIdx.x + 1];
  wait_for_copies<0>();
}
TEST_F(Emulator, AsynchronousCopiesLandAtTheirWait) {
  float* const numbers = device<float>(32 + 128);
  std::vector<float> in(128);
  std::iota(in.begin(), in.end(), 0.0f);
  PinnedMemory host;
  std::memcpy(host.reserve(512), in.data(), 512);
  cudaMemcpyAsync(numbers + 32, host.data(), 512, cudaMemcpyHostToDevice, stream.get());
  run(copies, 1, 32, 512, numbers, numbers + 32, true);
  EXPECT_EQ(take(numbers, 2), (std::vector<float>{1, 5}));
  run(copies, 1, 32, 512, numbers, numbers + 32, false);
  for (const float value : take(numbers, 32)) EXPECT_TRUE(std::isnan(value));
}
TEST_F(Emulator, AnAsynchronousCopyBeyondSharedMemoryIsCaught) {
  float* const numbers = device<float>(32 + 128);
  const std::string found = violation(copies, 32, 496, numbers, numbers + 32, true);
  EXPECT_NE(found.find("thread 31: the target of cp.async leaves the block's shared memory, at ptx.cuh:"),
            std::string::npos)
      << found;
}
TEST_F(Emulator, AnUnalignedAsynchronousCopyIsCaught) {
  float* const numbers = device<float>(32 + 132);
  EXPECT_NE(violation(copies, 32, 512, numbers, numbers + 33, true).find("not aligned to 16 bytes"),
            std::string::npos);
}

/// Integer matrices through the layouts that ptx.cuh states: d[r][c] = sum of a[r][k] * b[k][c].
__global__ void multiply_matrices(float* out) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const a = reinterpret_cast<unsigned short*>(shared);  // [16][16]
  auto* const b = a + 256;                                    // [16][8] row by row, in rows of 8
  const auto bf16 = [](int small) {
    const auto value = static_cast<float>(small);
    std::uint32_t bits;
    memcpy(&bits, &value, 4);
    return static_cast<unsigned short>(bits >> 16);
  };
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) a[i] = bf16(i % 7 - 3);
  for (int i = static_cast<int>(threadIdx.x); i < 128; i += 32) b[i] = bf16(i % 5 - 2);
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x);
  std::uint32_t of_a[4], of_b[4];
  load_matrices<false>(of_a, a + lane % 16 * 16 + lane / 16 * 8);
  load_matrices<true>(of_b, b + lane % 16 * 8);
  const std::uint32_t first[2] = {of_b[0], of_b[1]};
  float d[4] = {1, 1, 1, 1};
  mma_bf16(d, of_a, first);
  for (int i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}
TEST_F(Emulator, MatricesAreMultipliedInTheirLayouts) {
  float* const out = device<float>(128);
  run(multiply_matrices, 1, 32, 768, out);
  const std::vector<float> got = take(out, 128);
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 8; ++c) {
      int sum = 1;
      for (int k = 0; k < 16; ++k) sum += ((r * 16 + k) % 7 - 3) * ((k * 8 + c) % 5 - 2);
      EXPECT_EQ(got[static_cast<std::size_t>(r * 8 + c)], static_cast<float>(sum)) << r << ", " << c;
    }
}

TEST_F(Emulator, LaunchesBeyondTheLimitsAreCaught) {
  float* const out = device<float>(32);
  EXPECT_NE(violation(fresh_shared, 1025, 0, out).find("more than 1024 threads"), std::string::npos);
  EXPECT_NE(violation(fresh_shared, 32, 49 << 10, out).find("more dynamic shared memory"), std::string::npos);
  EXPECT_THROW(run(fresh_shared, dim3(1, 70000), 32, 128, out), emulator::Violation);
  EXPECT_THROW(run(fresh_shared, 0, 32, 128, out), emulator::Violation);
}
TEST_F(Emulator, AHostPointerIsNoArgumentOfAKernel) {
  float host[32];
  EXPECT_NE(violation(fresh_shared, 32, 128, &host[0]).find("neither to device nor to pinned memory"),
            std::string::npos);
}
TEST_F(Emulator, CopiesBeyondAnAllocationOrFromPageableMemoryAreCaught) {
  float* const at = device<float>(64);
  PinnedMemory pinned;
  pinned.reserve(1024);
  float pageable[4] = {};
  EXPECT_THROW(cudaMemcpyAsync(at, pinned.data(), 1024, cudaMemcpyHostToDevice, stream.get()),
               emulator::Violation);
  EXPECT_THROW(cudaMemcpyAsync(at, pageable, 16, cudaMemcpyHostToDevice, stream.get()), emulator::Violation);
  EXPECT_THROW(cudaMemcpyAsync(pinned.data(), at, 16, cudaMemcpyHostToDevice, stream.get()),
               emulator::Violation);
}
TEST_F(Emulator, AStreamIsLazyUntilSomethingWaits) {
  int* const out = device<int>(64);
  PinnedMemory host;
  std::memset(host.reserve(64 * 4), 0, 64 * 4);
  launch("test_kernel", block_sum, 1, 64, 0, stream.get(), out, true);
  cudaMemcpyAsync(host.data(), out, 64 * 4, cudaMemcpyDeviceToHost, stream.get());
  EXPECT_EQ(*reinterpret_cast<int*>(host.data()), 0);
  stream.synchronize();
  EXPECT_EQ(*reinterpret_cast<int*>(host.data()), 64 * 63 / 2);
}

}  // namespace
}  // namespace llm_tp

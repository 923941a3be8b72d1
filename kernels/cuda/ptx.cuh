#pragma once
// All inline assembly, each word with its meaning in the emulator beside it. sm_80 or later.
#include <atomic>
#include <cstring>

#include "kernels/cuda/device.cuh"

#ifdef __CUDA_ARCH__
#define LLM_TP_DEVICE_CODE 1
#endif

namespace llm_tp {

/// bf16 of two numbers, to nearest, ties to even; `low` in the low half. NaN stays NaN.
__device__ inline std::uint32_t bf16_pair(float low, float high) {
#ifdef LLM_TP_DEVICE_CODE
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const auto bits_of = [](float x) {
    std::uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  };
  return bits_of(low) | bits_of(high) << 16;
#endif
}

/// Both halves of a * b + c, bf16, to nearest, ties to even, subnormal numbers as they are. One rounding; the
/// emulator's second one, from f32, changes nothing where b is one or c is zero.
__device__ inline std::uint32_t fma_bf16(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#ifdef LLM_TP_DEVICE_CODE
  std::uint32_t pair;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
  return pair;
#else
  const auto number = [](std::uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
  };
  const auto low = [&](std::uint32_t pair) { return number(pair << 16); };
  const auto high = [&](std::uint32_t pair) { return number(pair & 0xffff0000u); };
  return bf16_pair(fmaf(low(a), low(b), low(c)), fmaf(high(a), high(b), high(c)));
#endif
}

/// (x & mask) | bits: one instruction, where the compiler takes two if both are constants.
__device__ inline std::uint32_t and_or(std::uint32_t x, std::uint32_t mask, std::uint32_t bits) {
#ifdef LLM_TP_DEVICE_CODE
  std::uint32_t word;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(word) : "r"(x), "r"(mask), "r"(bits));
  return word;
#else
  return (x & mask) | bits;
#endif
}

/// d += a * b over a warp: mma.m16n8k16, bf16 operands, f32 sums. Lane l (g = l / 4, c = l % 4 * 2) holds of
/// a [16,16]: (g, c), (g + 8, c), (g, c + 8), (g + 8, c + 8), two numbers each; of b [16,8]: (c, g), (c + 8,
/// g), two numbers each down the column; of d [16,8]: (g, c), (g, c + 1), (g + 8, c), (g + 8, c + 1).
__device__ inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef LLM_TP_DEVICE_CODE
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif !defined(__CUDACC__)
  emulator::MmaLane mine{a, b, d};
  emulator::meet(emulator::WarpOp::kMma, ~0u, &mine, emulator::multiply_bf16, {__FILE__, __LINE__});
#endif
}

/// The same with f16 operands.
__device__ inline void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef LLM_TP_DEVICE_CODE
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif !defined(__CUDACC__)
  emulator::MmaLane mine{a, b, d};
  emulator::meet(emulator::WarpOp::kMma, ~0u, &mine, emulator::multiply_f16, {__FILE__, __LINE__});
#endif
}

/// Four 8x8 matrices of 16-bit numbers from shared memory; lane 8 i + r gives the address of row r of matrix
/// i, 16 bytes, aligned. r[i] = two neighbours of row l / 4 of matrix i, columns l % 4 * 2; transposed: of
/// its column.
template <bool kTransposed>
__device__ inline void load_matrices(std::uint32_t (&r)[4], const void* row) {
#ifdef LLM_TP_DEVICE_CODE
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
#elif !defined(__CUDACC__)
  const emulator::Site site{__FILE__, __LINE__};
  emulator::check_shared(row, 16, 16, "an ldmatrix row", site);
  emulator::LoadMatrixLane mine;
  std::memcpy(mine.row, row, 16);
  mine.transposed = kTransposed;
  emulator::meet(emulator::WarpOp::kLoadMatrix, ~0u, &mine, emulator::load_matrices, site);
  for (int i = 0; i < 4; ++i) r[i] = mine.result[i];
#endif
}

/// Starts copying 16 bytes from global to shared memory, both aligned; they are there after a wait for their
/// group and, for other threads, a barrier.
__device__ inline void copy_async(void* to_shared, const void* from_global) {
#ifdef LLM_TP_DEVICE_CODE
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(to_shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from_global) : "memory");
#elif !defined(__CUDACC__)
  const emulator::Site site{__FILE__, __LINE__};
  emulator::check_shared(to_shared, 16, 16, "the target of cp.async", site);
  if (reinterpret_cast<std::uintptr_t>(from_global) % 16 != 0)
    emulator::fail("the source of cp.async is not aligned to 16 bytes", site);
  std::byte bytes[16];
  std::memcpy(bytes, from_global, 16);
  std::memset(to_shared, 0xff, 16);  // NaN until the wait: shows who reads too early
  emulator::start_copy(to_shared, bytes);
#endif
}
/// The same, or sixteen bytes of zeros; from_global is not read then, but is an address of device memory.
__device__ inline void copy_async_or_zeros(void* to_shared, const void* from_global, bool copies) {
#ifdef LLM_TP_DEVICE_CODE
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(to_shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from_global),
               "r"(copies ? 16 : 0)
               : "memory");
#elif !defined(__CUDACC__)
  static constexpr uint4 kZeros{};
  copy_async(to_shared, copies ? from_global : &kZeros);
#endif
}
/// Closes the group of the copies started since the last call.
__device__ inline void commit_copies() {
#ifdef LLM_TP_DEVICE_CODE
  asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(__CUDACC__)
  emulator::commit_copies();
#endif
}
/// Waits for all of this thread's groups but the newest kStillOpen.
template <int kStillOpen>
__device__ inline void wait_for_copies() {
#ifdef LLM_TP_DEVICE_CODE
  asm volatile("cp.async.wait_group %0;" ::"n"(kStillOpen) : "memory");
#elif !defined(__CUDACC__)
  emulator::wait_for_copies(kStillOpen, [](void* to, const std::byte* bytes) { std::memcpy(to, bytes, 16); });
#endif
}

/// 16 or 8 bytes that are read once and that nothing writes while the kernel runs: past the first-level
/// cache. Not volatile, so that loads may move up past other words.
__device__ inline uint4 load_once(const uint4* from) {
#ifdef LLM_TP_DEVICE_CODE
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(from));
  return v;
#else
  return *from;
#endif
}
__device__ inline uint2 load_once(const uint2* from) {
#ifdef LLM_TP_DEVICE_CODE
  uint2 v;
  asm("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(from));
  return v;
#else
  return *from;
#endif
}

/// What this thread wrote before, and what others wrote before a barrier that it passed, is seen by whoever
/// loads this value by load_acquire: on this device, on others, on the host.
__device__ inline void store_release(std::uint32_t* to, std::uint32_t value) {
#ifdef LLM_TP_DEVICE_CODE
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
#elif !defined(__CUDACC__)
  std::atomic_ref(*to).store(value, std::memory_order_release);
  emulator::hand_over();  // somebody may see it before this block's other threads go on
#endif
}
__device__ inline std::uint32_t load_acquire(const std::uint32_t* from) {
#ifdef LLM_TP_DEVICE_CODE
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
#elif !defined(__CUDACC__)
  return std::atomic_ref(*const_cast<std::uint32_t*>(from)).load(std::memory_order_acquire);
#else
  return *from;
#endif
}
/// Counts to `most` and begins anew: what *at was, for the last of the threads that come the same as
/// load_acquire after store_release of all those before it. On this device.
__device__ inline std::uint32_t count_up(std::uint32_t* at, std::uint32_t most) {
#ifdef LLM_TP_DEVICE_CODE
  std::uint32_t was;
  asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(was) : "l"(at), "r"(most) : "memory");
  return was;
#elif !defined(__CUDACC__)
  std::atomic_ref word(*at);
  std::uint32_t was = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(was, was >= most ? 0 : was + 1, std::memory_order_acq_rel)) {
  }
  return was;
#else
  return *at;
#endif
}
/// Inside a loop that waits for a word of others. A GPU runs them anyway.
__device__ inline void let_others_run() {
#if !defined(__CUDACC__)
  emulator::hand_over();
#endif
}

/// 2^x by the chip's own unit: about 2 ulp, exact for x = 0 and -infinity, 0 below the normal numbers.
__device__ inline float fast_exp2(float x) {
#ifdef LLM_TP_DEVICE_CODE
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return x < -126.0f ? 0.0f : exp2f(x);
#endif
}
/// x / y by the chip's reciprocal: about 2 ulp; 0 for y of 2^126 and more.
__device__ inline float fast_divide(float x, float y) {
#ifdef LLM_TP_DEVICE_CODE
  float z;
  asm("div.approx.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
#else
  return fabsf(y) >= 8.507059e37f ? 0.0f : x / y;
#endif
}

}  // namespace llm_tp

#pragma once
// What the sources of kernels/cuda mean to a host compiler: included by kernels/cuda/device.cuh in builds of
// the emulator alone. The headers of CUDA give types and function declarations; their meaning is here.
#ifdef __CUDACC__
#error "for the host compiler alone"
#endif
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <span>
#include <tuple>
#include <type_traits>

#include "emulator/block_runner.h"
#include "emulator/fake_device.h"
#include "emulator/warp_model.h"
#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device_log.h"

#define threadIdx (::llm_tp::emulator::thread_index)
#define blockIdx (::llm_tp::emulator::block_index)
#define blockDim (::llm_tp::emulator::block_size)
#define gridDim (::llm_tp::emulator::grid_size)
// The place of the call: as a default argument it is evaluated there.
#define LLM_TP_EMULATOR_SITE \
  { __builtin_FILE(), __builtin_LINE() }

inline void __syncthreads(llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  llm_tp::emulator::block_barrier(site);
}
inline void __syncwarp(std::uint32_t mask = ~0u, llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  llm_tp::emulator::meet(llm_tp::emulator::WarpOp::kSync, mask, nullptr, nullptr, site);
}
template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int distance,
                  llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  return llm_tp::emulator::shuffle_from(mask, value, llm_tp::emulator::lane() ^ distance, site);
}
template <class T>
T __shfl_sync(std::uint32_t mask, T value, int source, llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  return llm_tp::emulator::shuffle_from(mask, value, source, site);
}
inline unsigned __ballot_sync(std::uint32_t mask, int predicate,
                              llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  llm_tp::emulator::VoteLane mine{predicate != 0, 0};
  llm_tp::emulator::meet(llm_tp::emulator::WarpOp::kVote, mask, &mine, llm_tp::emulator::vote, site);
  return mine.result;
}
inline int __any_sync(std::uint32_t mask, int predicate, llm_tp::emulator::Site site = LLM_TP_EMULATOR_SITE) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __popc(unsigned bits) { return std::popcount(bits); }

inline int atomicAdd(int* at, int more) {
  return std::atomic_ref(*at).fetch_add(more, std::memory_order_relaxed);
}

// A launch with more threads than a kernel's bound is left to the real device.
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __grid_constant__
#define __grid_constant__

// Shared memory: __shared__ T name extent, and the block's dynamic part.
#define LLM_TP_SHARED(type, name, extent)         \
  static char name##_variable;                    \
  using name##_type = type extent;                \
  name##_type& name = *static_cast<name##_type*>( \
      ::llm_tp::emulator::static_shared(&name##_variable, sizeof(name##_type), alignof(name##_type)))
#define LLM_TP_DYNAMIC_SHARED(name) \
  auto* const name = static_cast<unsigned char*>(::llm_tp::emulator::dynamic_shared())

namespace llm_tp::emulator {

/// cudaLaunchKernelEx for the emulator: checks limits and pointers now, runs when something waits for the
/// stream.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  const std::tuple<Parameters...> bound(static_cast<Parameters>(arguments)...);
  int number = 0;
  const auto check = [&](const auto& value) {
    if constexpr (std::is_pointer_v<std::decay_t<decltype(value)>>) check_device_pointer(name, number, value);
    ++number;
  };
  std::apply([&](const auto&... values) { (check(values), ...); }, bound);
  DeviceLog::of_this_thread().launches(name);
  check_cuda(
      queue_launch(name, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, stream,
                   std::as_bytes(std::span(&bound, 1)), [kernel, bound] { std::apply(kernel, bound); }),
      name);
}

}  // namespace llm_tp::emulator

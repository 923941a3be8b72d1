#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#include "emulator/block_runner.h"

namespace llm_tp::emulator {

/// What lanes hand to the collectives of a warp, and the collectives' results. Fragment layouts are those of
/// the PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix".
struct ShuffleLane {
  std::uint64_t value = 0;
  int source = 0;
  std::uint64_t result = 0;
};
std::string shuffle(void* const lanes[32]);

struct VoteLane {
  bool vote = false;
  std::uint32_t result = 0;
};
std::string vote(void* const lanes[32]);

/// d = a * b + d: a 16x16, b 16x8 of bf16 or f16, d 16x8 f32. Products and their sum are rounded once; a GPU
/// rounds otherwise.
struct MmaLane {
  const std::uint32_t* a;  // [4]
  const std::uint32_t* b;  // [2]
  float* d;                // [4]
};
std::string multiply_bf16(void* const lanes[32]);
std::string multiply_f16(void* const lanes[32]);

/// Four 8x8 matrices of 16-bit numbers; lane 8 * i + r brings row r of matrix i.
struct LoadMatrixLane {
  std::uint16_t row[8] = {};
  bool transposed = false;
  std::uint32_t result[4] = {};
};
std::string load_matrices(void* const lanes[32]);

template <class T>
T shuffle_from(std::uint32_t mask, T value, int source, Site site) {
  static_assert(sizeof(T) <= 8);
  ShuffleLane mine{0, source, 0};
  std::memcpy(&mine.value, &value, sizeof value);
  meet(WarpOp::kShuffle, mask, &mine, shuffle, site);
  std::memcpy(&value, &mine.result, sizeof value);
  return value;
}

}  // namespace llm_tp::emulator

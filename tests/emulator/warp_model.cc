#include "emulator/warp_model.h"

#include <array>

#include "base/dtype.h"

namespace llm_tp::emulator {
namespace {

template <class Lane>
Lane* lane_of(void* const lanes[32], int lane) {
  return static_cast<Lane*>(lanes[lane]);
}
double of_bf16(std::uint32_t bits) { return double{std::bit_cast<float>(bits << 16)}; }
double of_f16(std::uint32_t bits) { return double{f16_to_f32(static_cast<std::uint16_t>(bits))}; }

template <double (*value_of)(std::uint32_t)>
std::string multiply(void* const lanes[32]) {
  std::array<std::array<double, 16>, 16> a;
  std::array<std::array<double, 8>, 16> b;
  for (int l = 0; l < 32; ++l) {
    const auto* const mine = lane_of<MmaLane>(lanes, l);
    if (mine == nullptr) return "mma without all 32 lanes";
    const auto row = static_cast<std::size_t>(l / 4), pair = static_cast<std::size_t>(l % 4 * 2);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t r = row + i % 2 * 8, c = pair + i / 2 * 8;
      a[r][c] = value_of(mine->a[i] & 0xffffu);
      a[r][c + 1] = value_of(mine->a[i] >> 16);
    }
    for (std::size_t i = 0; i < 2; ++i) {
      b[pair + i * 8][row] = value_of(mine->b[i] & 0xffffu);
      b[pair + i * 8 + 1][row] = value_of(mine->b[i] >> 16);
    }
  }
  std::array<std::array<double, 8>, 16> d{};
  for (std::size_t r = 0; r < 16; ++r)
    for (std::size_t k = 0; k < 16; ++k)
      for (std::size_t c = 0; c < 8; ++c) d[r][c] += a[r][k] * b[k][c];
  for (int l = 0; l < 32; ++l) {
    float* const mine = lane_of<MmaLane>(lanes, l)->d;
    const auto row = static_cast<std::size_t>(l / 4), pair = static_cast<std::size_t>(l % 4 * 2);
    for (std::size_t i = 0; i < 4; ++i)
      mine[i] = static_cast<float>(d[row + i / 2 * 8][pair + i % 2] + double{mine[i]});
  }
  return {};
}

}  // namespace

std::string shuffle(void* const lanes[32]) {
  for (int l = 0; l < 32; ++l) {
    auto* const mine = lane_of<ShuffleLane>(lanes, l);
    if (mine == nullptr) continue;
    if (mine->source < 0 || mine->source > 31 || lanes[mine->source] == nullptr)
      return "lane " + std::to_string(l) + " reads lane " + std::to_string(mine->source) +
             ", which does not take part in the shuffle";
    mine->result = lane_of<ShuffleLane>(lanes, mine->source)->value;
  }
  return {};
}

std::string vote(void* const lanes[32]) {
  std::uint32_t votes = 0;
  for (int l = 0; l < 32; ++l)
    if (lanes[l] != nullptr && lane_of<VoteLane>(lanes, l)->vote) votes |= std::uint32_t{1} << l;
  for (int l = 0; l < 32; ++l)
    if (lanes[l] != nullptr) lane_of<VoteLane>(lanes, l)->result = votes;
  return {};
}

std::string multiply_bf16(void* const lanes[32]) { return multiply<of_bf16>(lanes); }
std::string multiply_f16(void* const lanes[32]) { return multiply<of_f16>(lanes); }

std::string load_matrices(void* const lanes[32]) {
  for (int l = 0; l < 32; ++l)
    if (lanes[l] == nullptr) return "ldmatrix without all 32 lanes";
  for (int l = 0; l < 32; ++l) {
    auto* const mine = lane_of<LoadMatrixLane>(lanes, l);
    for (int i = 0; i < 4; ++i) {
      const auto at = [&](int row, int column) {
        return std::uint32_t{lane_of<LoadMatrixLane>(lanes, 8 * i + row)->row[column]};
      };
      const int row = l / 4, pair = l % 4 * 2;
      mine->result[i] = mine->transposed ? at(pair, row) | at(pair + 1, row) << 16
                                         : at(row, pair) | at(row, pair + 1) << 16;
    }
  }
  return {};
}

}  // namespace llm_tp::emulator

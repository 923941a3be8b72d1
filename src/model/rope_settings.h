#pragma once
#include <cstdint>
#include <vector>

namespace llm_tp {

/// Rotary position embedding (Su et al. 2021): the angle of pair i at position p is p * frequency(i). The
/// kinds are those of Hugging Face's modeling_rope_utils; docs/rope.md has them in a table.
struct RopeSettings {
  enum class Kind { kPlain, kLinear, kDynamic, kYarn, kLlama3, kLongRope };
  Kind kind = Kind::kPlain;
  double theta = 10000;
  std::int64_t rotary = 0;      // elements of a head that turn, the first ones; 0: all
  double factor = 1;            // by which the context is stretched; not of longrope
  double original_context = 0;  // before it was stretched
  double attention_factor = 1;  // cosines and sines are multiplied by it
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;                        // YaRN: turns within original_context
  std::vector<double> divisors = {};  // of each frequency; longrope: for sequences up to original_context
  std::vector<double> long_divisors = {};  // longrope: for longer ones

  /// The angle of a position depends on how long its sequence is.
  bool by_length() const noexcept { return kind == Kind::kDynamic || kind == Kind::kLongRope; }
};

}  // namespace llm_tp

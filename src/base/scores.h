#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/host_device.h"
#include "base/ids.h"

// What is done to the scores of a vocabulary and found in them, whoever looks: threads of the host or
// kernels.

namespace llm_tp {

/// The score of a token that must not be chosen.
inline constexpr float kForbiddenScore = -std::numeric_limits<float>::infinity();
inline constexpr float kLargestScore = std::numeric_limits<float>::max();

/// A token that may be chosen.
struct Candidate {
  TokenId id = -1;
  float score = 0;  // what the processors made of its logit
  float logit = 0;  // what the model gave
};

/// Score descending, then id ascending: the order of every list of candidates. An object, so that sorts
/// inline it.
inline constexpr auto comes_before = [](const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.id < b.id);
};

/// One step of the processors on the score of one token. Applied in the order of the list by the rank that
/// owns the token, so the result does not depend on how the vocabulary is spread.
struct Adjustment {
  enum class Op : std::int32_t {
    kAdd,        // score + value
    kPenalise,   // score < 0 ? score * value : score / value
    kSet,        // value
    kGrow,       // score + |score| * value
    kForbidAll,  // every token: minus infinity; id is not read
  };
  TokenId id = 0;
  Op op = Op::kAdd;
  float value = 0;
};

LLM_TP_HOST_DEVICE float adjusted(float score, const Adjustment& a) {
  switch (a.op) {
    case Adjustment::Op::kAdd:
      return score + a.value;
    case Adjustment::Op::kPenalise:
      return score < 0 ? score * a.value : score / a.value;
    case Adjustment::Op::kGrow: {
      // What was forbidden becomes not-a-number in Hugging Face's code, and its argmax takes that: an end id
      // that grows wins over a minimal length. Finite here, so that sums stay sums.
      const float grown = score + std::fabs(score) * a.value;
      return grown <= kLargestScore ? grown : kLargestScore;
    }
    case Adjustment::Op::kSet:
    case Adjustment::Op::kForbidAll:
      break;
  }
  return a.value;
}

/// Which tokens a grammar allows.
enum class MaskKind : std::int32_t {
  kNone,
  kBits,       // bit id % 32 of word id / 32: 1 is allowed
  kAllowed,    // ascending ids
  kForbidden,  // ascending ids
};

/// Sum of exp((score - maximum) * scale) over one fixed run of vocabulary rows: parts of a log-sum-exp that
/// are merged in the order of the runs, so that the result does not depend on how the vocabulary is spread
/// over ranks.
struct ExpSum {
  double maximum = 0;   // largest score of the run, not scaled; minus infinity where all are forbidden
  double sum = 0;       // of e = exp((score - maximum) * scale)
  double weighted = 0;  // of e * (score - maximum) * scale: for the entropy
};

}  // namespace llm_tp

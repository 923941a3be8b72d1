#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/score_reader.h"

namespace llm_tp {

/// Scores that one maximum stands for, so that a search for the best looks at an eighth of them.
inline constexpr std::int32_t kSegment = 8;

/// A list of the best that a question wants.
struct DeviceList {
  std::int32_t wanted;  // at most ScoreReader::kMostCandidates; 0: none is
  std::int32_t first;   // of its candidates
  std::int32_t room;    // to work in, a power of two
};

/// A RowQuestion in device memory.
struct DeviceQuestion {
  DrawStream draws;
  double draw_scale, normaliser;
  std::int32_t row;
  bool adjusts;  // its scores are not the logits
  bool is_normalised, forbids_all, is_drawn;
  std::int32_t run_begins;  // where its runs' adjustments begin: first of runs + 1 numbers; -1: it has none
  MaskKind mask;
  std::int32_t first_mask_word, mask_words;  // those of this part alone
  std::int32_t first_bits;                   // MaskKind::kBits: id / 32 of its first word
  float score_sum_scale;
  std::int32_t logit_sums, score_sums;  // the first of each
  TokenId target;
  DeviceList top, best;
};

/// What a run's scores hold. Keys are near score * draw_scale + gumbel, as kDrawError says.
struct RunState {
  double key, second_key;  // the two largest; minus infinity where there is none
  TokenId id;              // of the largest
  float score;
  bool has_nan;
};

/// How far keys are from those of the host: of f32 logarithms, and of their sum in double.
inline constexpr double kDrawError = 0x1p-15, kDrawRelativeError = 0x1p-51;

/// What is found in a row, but for sums and lists.
struct RowEnd {
  double key, second_key;
  Candidate drawn;
  float target_logit;
  std::int32_t tops, bests;  // in the lists; -1: more than there is room for
  std::int32_t has_nan;
  std::int32_t unused;
};

/// Where a group of questions, their workspace and their answers lie in device memory.
struct ReadArguments {
  const float* logits;
  std::int64_t stride, columns;  // of logits: this part's tokens
  TokenId first;                 // of the part
  std::int32_t run, runs;
  const DeviceQuestion* questions;
  const Adjustment* adjustments;  // of each question by run, in order
  const std::int32_t* run_begins;
  const std::uint32_t* mask_words;

  float* scores;     // [questions, columns]: of those that adjust
  float* maxima;     // [questions, 2, segments]: of segments of logits, and of scores
  RunState* states;  // [questions, runs]

  RowEnd* ends;
  ExpSum* sums;
  Candidate* candidates;
};

LLM_TP_HOST_DEVICE std::int64_t segments_of(std::int64_t columns) {
  return (columns + kSegment - 1) / kSegment;
}
/// Candidates that a list of `wanted` has room for: so many ties of the last one are thought of.
LLM_TP_HOST_DEVICE std::int32_t list_room(std::int32_t wanted) { return wanted == 0 ? 0 : wanted + 8; }
/// And while it is made: more than `wanted` are looked at.
constexpr std::int32_t working_room(std::int32_t wanted) {
  std::int32_t room = 32;
  while (room < 2 * wanted) room *= 2;
  return room;
}

/// Makes the scores, their sums and maxima, and each run's draw: one pass over the logits.
void score_runs(cudaStream_t stream, const ReadArguments& args, unsigned questions);
/// Joins the runs' draws, and makes the lists of candidates; most_room: the largest working room.
void pick_candidates(cudaStream_t stream, const ReadArguments& args, unsigned questions,
                     std::int32_t most_room);

}  // namespace llm_tp

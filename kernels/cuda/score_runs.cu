// Scores of the vocabulary by runs: a warp reads one, and nothing of it depends on others. What the host has
// in the same order is sums of eight lanes (decoding/exp_sum.cc); maxima and draws have no order.
#include "base/exp_below_zero.h"
#include "kernels/cuda/read_scores.cuh"

namespace llm_tp {
namespace {

constexpr int kWarps = 8;  // of a block

struct Run {
  std::int64_t begin;  // in the part
  std::int32_t size, lane;
};

/// The largest score; maxima: of the segments, or null.
__device__ inline float largest_of(const float* scores, const Run& run, float* maxima, bool& has_nan) {
  float largest = -INFINITY;
  for (std::int32_t base = 0; base < run.size; base += 32) {
    const std::int32_t i = base + run.lane;
    float score = i < run.size ? scores[run.begin + i] : -INFINITY;
    has_nan = has_nan || score != score;
    if (maxima != nullptr) {
      for (int distance = 1; distance < kSegment; distance *= 2) {
        const float other = __shfl_xor_sync(~0u, score, distance);
        score = other > score ? other : score;
      }
      if (run.lane % kSegment == 0 && i < run.size) maxima[(run.begin + i) / kSegment] = score;
    }
    largest = score > largest ? score : largest;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(~0u, largest, distance);
    largest = other > largest ? other : largest;
  }
  return largest;
}

/// exp_sum() of the host, to the bit: lane l of eight adds l, l + 8, … one after the other, and the lanes are
/// added in order. The exponentials of 32 scores are made at once and handed round.
__device__ inline void write_sum(const float* scores, const Run& run, float maximum, float scale,
                                 ExpSum* out) {
  float sum = 0.0f, weighted = 0.0f;
  for (std::int32_t base = 0; base < run.size && maximum > -INFINITY; base += 32) {
    const std::int32_t i = base + run.lane;
    float x = ((i < run.size ? scores[run.begin + i] : -INFINITY) - maximum) * scale, e;
    exp_below_zero<float, std::uint32_t, std::int32_t>(x, e);
    const float product = e * x;
    for (int from = run.lane % 8; from < 32; from += 8) {
      sum = sum + __shfl_sync(~0u, e, from);
      weighted = weighted + __shfl_sync(~0u, product, from);
    }
  }
  // Lanes 0 to 7 add the sums, 8 to 15 the weighted ones; the others do as those.
  const bool takes_weighted = run.lane % 16 >= 8;
  const float own = takes_weighted ? weighted : sum;
  double total = 0;
  for (int from = 0; from < 8; ++from)
    total = total + static_cast<double>(__shfl_sync(~0u, own, from + (takes_weighted ? 8 : 0)));
  const double weighted_total = __shfl_sync(~0u, total, 8);
  if (run.lane == 0) *out = {maximum, total, weighted_total};
}

/// A lane takes the adjustments of a token where the first of them is its own, and follows them in order.
__device__ inline void apply_adjustments(const ReadArguments& args, const DeviceQuestion& question,
                                         std::int64_t number, float* scores) {
  const std::int32_t begin = args.run_begins[question.run_begins + number],
                     end = args.run_begins[question.run_begins + number + 1];
  for (std::int32_t own = begin + static_cast<std::int32_t>(threadIdx.x % 32); own < end; own += 32) {
    const TokenId id = args.adjustments[own].id;
    bool is_first = true;
    for (std::int32_t i = begin; i < own && is_first; ++i) is_first = args.adjustments[i].id != id;
    if (!is_first) continue;
    float score = scores[id - args.first];
#pragma unroll 1
    for (std::int32_t i = own; i < end; ++i)
      if (args.adjustments[i].id == id) score = adjusted(score, args.adjustments[i]);
    scores[id - args.first] = score;
  }
}

/// The first of ascending words that is not below `wanted`.
__device__ inline std::int32_t first_not_below(const std::uint32_t* words, std::int32_t begin,
                                               std::int32_t end, std::uint32_t wanted) {
  while (begin < end) {
    const std::int32_t middle = begin + (end - begin) / 2;
    if (words[middle] < wanted)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

/// Forbids what the mask does not allow. Every lane its own scores, as all loops over them have it.
__device__ inline void apply_mask(const ReadArguments& args, const DeviceQuestion& question, const Run& run,
                                  float* scores) {
  const std::uint32_t* const words = args.mask_words + question.first_mask_word;
  const auto id_of = [&](std::int32_t i) { return static_cast<std::uint32_t>(args.first + run.begin + i); };
  if (question.mask == MaskKind::kBits) {
    for (std::int32_t i = run.lane; i < run.size; i += 32) {
      const std::uint32_t id = id_of(i), word = id / 32 - static_cast<std::uint32_t>(question.first_bits);
      const bool allowed =
          word < static_cast<std::uint32_t>(question.mask_words) && (words[word] >> id % 32 & 1u) != 0;
      if (!allowed) scores[run.begin + i] = kForbiddenScore;
    }
    return;
  }
  const std::int32_t begin = first_not_below(words, 0, question.mask_words, id_of(0)),
                     end = first_not_below(words, begin, question.mask_words, id_of(run.size));
  for (std::int32_t i = run.lane; i < run.size; i += 32) {
    const std::int32_t at = first_not_below(words, begin, end, id_of(i));
    const bool listed = at < end && words[at] == id_of(i);
    if (listed == (question.mask == MaskKind::kForbidden)) scores[run.begin + i] = kForbiddenScore;
  }
}

__device__ inline void make_scores(const ReadArguments& args, const DeviceQuestion& question,
                                   std::int64_t number, const Run& run, const float* logits, float* scores) {
  for (std::int32_t i = run.lane; i < run.size; i += 32) {
    float score = logits[run.begin + i];
    if (question.is_normalised) score = static_cast<float>(static_cast<double>(score) - question.normaliser);
    scores[run.begin + i] = question.forbids_all ? kForbiddenScore : score;
  }
  __syncwarp();
  if (question.run_begins >= 0) apply_adjustments(args, question, number, scores);
  __syncwarp();
  if (question.mask != MaskKind::kNone) apply_mask(args, question, run, scores);
}

/// -log(-log(u)), u = (bits + 1/2) / 2^53, within kDrawError: 1 - u where u is near 1, so that both
/// logarithms are of numbers without a large relative error.
__device__ inline float nearly_gumbel(std::uint64_t bits) {
  const bool near_one = bits >> 52 != 0;
  const std::uint64_t distance = near_one ? (std::uint64_t{1} << 53) - 1 - bits : bits;
  const float part = (static_cast<float>(distance) + 0.5f) * 0x1p-53f;
  return -logf(near_one ? -log1pf(-part) : -logf(part));
}

__device__ inline RunState draw(const DeviceQuestion& question, const float* scores, const Run& run,
                                TokenId first) {
  RunState state = nothing_drawn();
  for (std::int32_t i = run.lane; i < run.size; i += 32) {
    const float score = scores[run.begin + i];
    if (score == kForbiddenScore) continue;
    const TokenId id = first + static_cast<TokenId>(run.begin) + i;
    const double key =
        static_cast<double>(score) * question.draw_scale + nearly_gumbel(random_bits(question.draws, id));
    join(state, {key, -INFINITY, id, score, false});
  }
  return state;
}

/// One warp a run and a question, in blockIdx.y.
__global__ void __launch_bounds__(32 * kWarps) score_runs_kernel(ReadArguments args) {
  const std::int64_t number = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (number >= args.runs) return;
  const DeviceQuestion& question = args.questions[blockIdx.y];
  Run run;
  run.begin = number * args.run;
  run.size =
      args.columns - run.begin < args.run ? static_cast<std::int32_t>(args.columns - run.begin) : args.run;
  run.lane = static_cast<std::int32_t>(threadIdx.x % 32);
  const float* const logits = logits_of(args, blockIdx.y);
  const bool list_of_logits = question.top.wanted > 0 || (question.best.wanted > 0 && !question.adjusts);
  bool has_nan = false;
  float largest =
      largest_of(logits, run, list_of_logits ? maxima_of(args, blockIdx.y, false) : nullptr, has_nan);
  write_sum(logits, run, largest, 1.0f, args.sums + question.logit_sums + number);

  if (question.adjusts) {
    float* const scores = own_scores(args, blockIdx.y);
    make_scores(args, question, number, run, logits, scores);
    largest = largest_of(scores, run, question.best.wanted > 0 ? maxima_of(args, blockIdx.y, true) : nullptr,
                         has_nan);
  }
  const float* const scores = scores_of(args, blockIdx.y);
  if (question.score_sum_scale > 0)
    write_sum(scores, run, largest, question.score_sum_scale, args.sums + question.score_sums + number);
  RunState state = nothing_drawn();
  if (question.is_drawn) {
    state = draw(question, scores, run, args.first);
    join_lanes(state);
  }
  state.has_nan = __any_sync(~0u, has_nan ? 1 : 0) != 0;
  if (run.lane == 0) args.states[static_cast<std::int64_t>(blockIdx.y) * args.runs + number] = state;
}

}  // namespace

void score_runs(cudaStream_t stream, const ReadArguments& args, unsigned questions) {
  LLM_TP_LAUNCH(score_runs_kernel, dim3(blocks_for(args.runs, kWarps), questions), 32 * kWarps, 0, stream,
                args);
}

}  // namespace llm_tp

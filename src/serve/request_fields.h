#pragma once
#include <cstdint>
#include <limits>

namespace llm_tp {

/// A field of a request's body that is a number, with what it may be: the reader of bodies and /openapi.json
/// have it from here.
struct IntegerField {
  const char* name;
  std::int64_t low, high;
};
struct NumberField {
  const char* name;
  double low, high;
};

namespace fields {

constexpr std::int64_t kManyTokens = std::int64_t{1} << 30;
constexpr std::int64_t kMostChoices = 128;  // of a request, over all its prompts
constexpr std::int64_t kMostPriority = 1000;
constexpr int kMostStopTexts = 16;
constexpr double kMostBias = 100;

// Of every request:
inline constexpr IntegerField kPriority{"priority", -kMostPriority, kMostPriority};
inline constexpr NumberField kTimeout{"timeout", 0, 1e6};  // seconds

// Of both kinds of completion:
inline constexpr IntegerField kMaxTokens{"max_tokens", 0, kManyTokens},
    kMinTokens{"min_tokens", 0, kManyTokens},
    kTopK{"top_k", -1, std::numeric_limits<std::int32_t>::max()},  // -1, other servers' way to say: all
    kSeed{"seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()},
    kN{"n", 1, kMostChoices}, kBeams{"num_beams", 1, kMostChoices};
inline constexpr NumberField kTemperature{"temperature", 0, 100}, kTopP{"top_p", 0, 1}, kMinP{"min_p", 0, 1},
    kTypicalP{"typical_p", 0, 1}, kPresencePenalty{"presence_penalty", -2, 2},
    kFrequencyPenalty{"frequency_penalty", -2, 2}, kRepetitionPenalty{"repetition_penalty", 0.01, 100},
    kLengthPenalty{"length_penalty", -100, 100}, kPenaltyAlpha{"penalty_alpha", 0, 1};

// Of one endpoint:
inline constexpr IntegerField kLogprobs{"logprobs", 0, 20},
    kBestOf{"best_of", 1, kMostChoices},  // completions
    kMaxCompletionTokens{"max_completion_tokens", 0, kManyTokens},
    kTopLogprobs{"top_logprobs", 0, 20},        // chat
    kDimensions{"dimensions", 1, kManyTokens};  // embeddings

}  // namespace fields
}  // namespace llm_tp

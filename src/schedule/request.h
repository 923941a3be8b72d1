#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/adapter_id.h"
#include "base/ids.h"
#include "decoding/beam_search.h"
#include "decoding/choices.h"
#include "decoding/contrastive.h"
#include "decoding/embedding.h"
#include "decoding/guide.h"
#include "decoding/settings.h"
#include "decoding/strategy.h"

namespace llm_tp {

/// One prompt to complete, in tokens. What the tokens mean is not the scheduler's business.
struct Request {
  std::vector<TokenId> prompt;  // at least one
  AdapterId adapter = kNoAdapter;
  std::int32_t priority = 0;     // lower ones go first (Rank)
  std::int32_t max_tokens = 16;  // new ones; 0: the prompt is run and scored only
  std::int32_t min_tokens = 0;   // before that many, end ids are never chosen
  std::vector<TokenId> end_ids;
  SamplingSettings sampling;
  ProcessorSettings processors;  // its end_ids, max_length and min_new_tokens are filled in from the above
  std::int32_t choices = 1;      // completions; they share the prompt's pages
  std::int32_t stream = 0;       // of random draws: sequences with one seed differ by it; choice i adds i
  std::int32_t best = 0;         // so many best tokens are reported with each new one
  std::int32_t prompt_best = 0;  // and with each scored prompt token
  bool score_prompt = false;     // log-probability of every prompt token after the first
  bool whole_logits = false;     // all logits of every scored prompt row
  std::shared_ptr<Guide> guide;  // nullptr: any text
  SpeculationSettings speculation;
  // One of these takes the place of plain completions.
  struct Beams {
    std::int32_t beams = 1, returned = 1;
    double length_penalty = 1;
    EarlyStopping early_stopping = EarlyStopping::kFalse;
  };
  std::optional<Beams> beams;
  struct ContrastiveSearch {
    double penalty_alpha = 0;
    std::int32_t top_k = 0;
  };
  std::optional<ContrastiveSearch> contrastive;
  std::optional<EmbeddingSettings> embedding;  // nothing is completed: max_tokens is 0
};

/// The KV cache that a request may come to need.
struct RequestNeeds {
  std::int64_t shared_positions = 0;  // of the prompt, which all its sequences share where they fill pages
  std::int64_t sequences = 1;         // at the same time
  std::int64_t positions = 0;         // of the longest sequence
  bool draft = false;                 // as many in the draft model's cache, nothing shared
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  /// Pages of `page_tokens` positions in one cache of which a sequence holds no more than `most_held`.
  std::int64_t main_pages(std::int64_t page_tokens, std::int64_t most_held = kAll) const noexcept;
  std::int64_t draft_pages(std::int64_t page_tokens, std::int64_t most_held = kAll) const noexcept;
};
RequestNeeds needs_of(const Request& request);
/// Answers that are told, each with an end of its own: Output::choice counts them.
std::int32_t answers_of(const Request& request);

/// What decides how the request's sequences go on.
std::unique_ptr<Strategy> make_strategy(const Request& request);

}  // namespace llm_tp

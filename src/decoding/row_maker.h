#pragma once
#include <memory>
#include <span>

#include "decoding/guide.h"
#include "decoding/processors.h"
#include "decoding/score_list.h"

namespace llm_tp {

/// Makes the requests for scored rows of one generation request: sampling settings, processors, grammar. One
/// object a request; the same for all of its sequences.
class RowMaker {
 public:
  RowMaker(ProcessorSettings processors, SamplingSettings sampling, std::shared_ptr<Guide> guide,
           std::int64_t prompt_tokens, std::int32_t best)
      : processors_(std::move(processors), prompt_tokens),
        sampling_(sampling),
        guide_(std::move(guide)),
        best_(best) {}
  /// The row of the last of `tokens`, that is to give the next one. guide_state is the state after them, dead
  /// or of no meaning without a guide. The caller may change the request before it appends it.
  RowRequest make(std::int32_t row, std::span<const TokenId> tokens, std::int32_t stream,
                  Guide::State guide_state, ScoreList& list);
  const SamplingSettings& sampling() const noexcept { return sampling_; }
  Guide* guide() const noexcept { return guide_.get(); }

 private:
  LogitProcessors processors_;
  SamplingSettings sampling_;
  std::shared_ptr<Guide> guide_;
  std::int32_t best_;
};

}  // namespace llm_tp

#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "decoding/score_list.h"
#include "decoding/strategy.h"

namespace llm_tp {

/// Rows of a step that continue one sequence (docs/step_plan.md).
struct PlanSlice {
  std::int32_t rows = 0;
  std::int32_t first_position = 0;
  std::int32_t first_page = 0;  // of this sequence, in StepPlan::pages
  std::int32_t pages = 0;
  std::int32_t prompt_tokens = 0;  // of the sequence; rotary embeddings may depend on it
};

/// One step of the whole group, made by rank 0: complete, so that a rank needs nothing but its weights and KV
/// pages.
struct StepPlan {
  enum class Kind : std::int32_t { kRun, kReport, kStop };  // kReport: every rank tells rank 0 what it used

  std::uint64_t step = 0;  // counts up by one; a rank that is out of step fails loudly
  Kind kind = Kind::kRun;
  ModelSlot model = ModelSlot::kMain;  // which of the group's models runs
  std::vector<TokenId> tokens;         // of all slices, one after the other
  std::vector<PlanSlice> slices;
  std::vector<PageId> pages;               // page tables of all slices
  std::vector<PageId> copy_from, copy_to;  // whole pages copied before the step, all layers
  ScoreList score;                         // rows whose logits or states are wanted

  std::vector<std::byte> to_bytes() const;
  /// Errors: kBug for another format, another step than `expected`, or slices that do not fit the tokens.
  static StepPlan from_bytes(std::span<const std::byte> bytes, std::uint64_t expected);
};

}  // namespace llm_tp

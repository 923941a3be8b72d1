#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/adapter_id.h"
#include "base/ids.h"
#include "decoding/score_list.h"
#include "decoding/strategy.h"

namespace llm_tp {

/// Rows of a step that continue one sequence (docs/step_plan.md).
struct PlanSlice {
  std::int32_t rows = 0;
  std::int32_t first_position = 0;
  std::int32_t prompt_tokens = 0;  // of the sequence; rotary embeddings may depend on it
  AdapterId adapter = kNoAdapter;
};

/// The pages of a slice in one cache.
struct PageTable {
  std::int32_t first_page = 0;    // in StepPlan::pages
  std::int32_t pages = 0;         // so many
  std::int32_t pages_before = 0;  // of the sequence, that were given back: the table begins behind them
};

/// A whole page of one cache, all its layers.
struct PageCopy {
  std::int32_t cache = 0;
  PageId from = 0, to = 0;
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
  std::vector<PageTable> tables;  // of every slice in the model's first cache, then in the second...
  std::vector<PageId> pages;      // of all tables
  std::vector<PageCopy> copies;   // done before the step
  ScoreList score;                // rows whose logits or states are wanted

  /// Caches of the model: one for each group of layers that look back equally far.
  std::size_t caches() const noexcept { return slices.empty() ? 0 : tables.size() / slices.size(); }
  std::vector<std::byte> to_bytes() const;
  /// Errors: kBug for another format, another step than `expected`, or slices and tables that do not
  /// fit each other and the tokens.
  static StepPlan from_bytes(std::span<const std::byte> bytes, std::uint64_t expected);
};

}  // namespace llm_tp

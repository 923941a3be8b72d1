#pragma once
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "schedule/request.h"
#include "schedule/scheduler_limits.h"
#include "schedule/sequence_table.h"

namespace llm_tp {

using RequestId = std::int64_t;

/// The place of a request in the line, which never changes: the smaller one goes first. One step of priority
/// is worth kOvertakers places, so a request lets at most kOvertakers * (p - q) later ones of a priority q
/// above its p go first: it ages as others arrive, and none waits for ever.
struct Rank {
  static constexpr std::int64_t kOvertakers = 100;
  std::int64_t place = 0;
  RequestId id = 0;
  static Rank of(RequestId id, std::int32_t priority) noexcept {
    return {id + kOvertakers * std::int64_t{priority}, id};
  }
  auto operator<=>(const Rank&) const = default;
};

/// A request from its arrival to its end; its strategy sees its sequences through this. It runs, or it waits:
/// before its beginning, and whenever it was preempted. Then it keeps its tokens and its strategy but no
/// pages, and what was run is run again later, without another outcome: the same bits, so the strategy does
/// not notice.
class LiveRequest final : public SequenceSet {
 public:
  LiveRequest(RequestId id, const Request& request, SequenceTable& table);

  SequenceId start(ModelSlot model, std::vector<TokenId> tokens) override;
  SequenceId fork(SequenceId from) override;
  void append(SequenceId sequence, std::span<const TokenId> tokens) override;
  void cut(SequenceId sequence, std::int32_t length) override;
  void drop(SequenceId sequence) override;
  const std::vector<TokenId>& tokens(SequenceId sequence) const override;

  /// Begins, or goes on after a preemption.
  void run();
  /// Gives all pages back.
  void preempt();
  void drop_all();
  /// One of its choices ends: now, or before the strategy decides next where others have run ahead, whose
  /// outcomes nobody would ask for otherwise.
  void stop(std::int32_t choice);
  /// Rows of it are in the step that comes.
  void note_rows() noexcept { ran_ahead_ = true; }
  /// To be called after every step, once the strategy took the outcomes. Lets the strategy decide where
  /// nothing waits.
  void after_step(std::vector<Output>& told);

  bool has_begun() const noexcept { return begun_; }
  bool runs() const noexcept { return runs_; }
  std::int32_t preemptions() const noexcept { return preemptions_; }
  /// Rows of one sequence that may run next.
  std::int32_t rows_of(SequenceId sequence) const;
  /// Whether those give new tokens: no prompt, and nothing that was run before.
  bool decodes(SequenceId sequence) const;
  /// Of the main model, that it may have at the same time.
  std::int64_t most_sequences() const;
  /// Pages that it takes to run what its sequences hold, and `growth` pages a sequence more where it may grow
  /// so far: of each cache of the main model, then of the draft model. An estimate for admission, not below
  /// what the tokens need.
  std::vector<std::int64_t> pages_to_come(const SchedulerLimits& limits, std::int64_t growth) const;

  const Rank rank;
  const std::vector<TokenId> prompt;
  const RequestNeeds needs;
  const AdapterId adapter;
  const std::unique_ptr<Strategy> strategy;
  std::vector<SequenceId> sequences;
  std::int32_t cached_tokens = 0;

 private:
  SequenceId remember(SequenceId sequence);
  bool follows(SequenceId sequence) const;
  std::vector<SequenceId> of_model(ModelSlot model) const;
  std::int32_t common_beginning(const std::vector<SequenceId>& all) const;
  void share_beginning();
  bool waits() const;
  std::int64_t pages_of_tokens(ModelSlot model, std::size_t cache, const SchedulerLimits& limits) const;

  SequenceTable& table_;
  const bool reuses_;
  bool begun_ = false, runs_ = false;
  bool ran_ahead_ = false;              // since the strategy decided
  std::vector<std::int32_t> stopping_;  // choices that end before it decides again
  std::int32_t preemptions_ = 0;
  // After a preemption one sequence runs the beginning that all of the main model share; the others follow.
  SequenceId first_ = -1;
  std::vector<SequenceId> followers_;
  std::int32_t beginning_ = 0;  // so many positions
};

}  // namespace llm_tp

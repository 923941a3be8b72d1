#pragma once
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "kernels/cuda/read_scores.h"

namespace llm_tp {

/// Questions about rows and all that they point to, as kernels read them: built on the host and sent in one
/// piece. Of adjustments and masks it holds what is about one part of the vocabulary.
class QuestionTable {
 public:
  /// Bytes that a table may take: a million adjustments, or bits of ten million tokens.
  static constexpr std::size_t kMostBytes = std::size_t{4} << 20;
  static constexpr std::size_t kMostQuestions = 16;

  QuestionTable(Range part, std::int64_t run) : part_(part), run_(run) {}
  /// False: there is no room left, and nothing was added.
  bool add(const RowQuestion& question);
  const std::vector<DeviceQuestion>& questions() const noexcept { return questions_; }
  std::int32_t runs() const noexcept { return static_cast<std::int32_t>((part_.size() + run_ - 1) / run_); }
  std::int32_t sums() const noexcept { return sums_; }
  std::int32_t candidates() const noexcept { return candidates_; }
  /// Of the longest list.
  std::int32_t most_working_room() const noexcept { return most_working_room_; }

  std::size_t bytes() const noexcept;
  /// Writes bytes() of them.
  void write(std::byte* out) const;
  /// Fills in where the tables lie, once what write() wrote is at `at` in device memory.
  void point_to(const std::byte* at, ReadArguments& args) const;

 private:
  struct Offsets {
    std::size_t adjustments, run_begins, mask_words, end;
  };
  Offsets offsets() const noexcept;
  void add_adjustments(std::span<const Adjustment> list, DeviceQuestion& to);
  void add_mask(DeviceQuestion& to, MaskKind kind, std::span<const std::uint32_t> words);
  DeviceList add_list(std::int64_t wanted);

  Range part_;
  std::int64_t run_;
  std::vector<DeviceQuestion> questions_;
  std::vector<Adjustment> adjustments_;
  std::vector<std::int32_t> run_begins_;
  std::vector<std::uint32_t> mask_words_;
  std::int32_t sums_ = 0, candidates_ = 0, most_working_room_ = 0;
};

}  // namespace llm_tp

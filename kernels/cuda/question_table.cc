#include "kernels/cuda/question_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr std::size_t kAlignment = 16;
std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
template <class T>
std::size_t bytes_of(const std::vector<T>& table) {
  return aligned(table.size() * sizeof(T));
}

/// Those words of a mask that say something of [part.begin, part.end).
std::span<const std::uint32_t> words_of_part(std::span<const std::uint32_t> words, MaskKind kind,
                                             Range part) {
  if (kind == MaskKind::kBits) {
    const auto limit = static_cast<std::int64_t>(words.size());
    const std::int64_t begin = std::min(part.begin / 32, limit), end = std::min((part.end + 31) / 32, limit);
    return words.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  const auto begin = std::lower_bound(words.begin(), words.end(), static_cast<std::uint32_t>(part.begin));
  const auto end = std::lower_bound(begin, words.end(), static_cast<std::uint32_t>(part.end));
  return {begin, end};
}

}  // namespace

/// By run, each run's in their order. What stands before "forbid all" is of no use any more.
void QuestionTable::add_adjustments(std::span<const Adjustment> list, DeviceQuestion& to) {
  const auto last = std::find_if(list.rbegin(), list.rend(),
                                 [](const Adjustment& a) { return a.op == Adjustment::Op::kForbidAll; });
  to.forbids_all = last != list.rend();
  list = list.last(static_cast<std::size_t>(last - list.rbegin()));
  std::vector<std::int32_t> counts(static_cast<std::size_t>(runs()) + 1);
  const auto next_of = [&](TokenId id) -> std::int32_t& {
    return counts[static_cast<std::size_t>((id - part_.begin) / run_)];
  };
  for (const Adjustment& a : list)
    if (part_.contains(a.id)) ++next_of(a.id);
  auto end = static_cast<std::int32_t>(adjustments_.size());
  to.run_begins = static_cast<std::int32_t>(run_begins_.size());
  for (std::int32_t& count : counts) {
    run_begins_.push_back(end);
    end += std::exchange(count, end);
  }
  adjustments_.resize(static_cast<std::size_t>(end));
  for (const Adjustment& a : list)
    if (part_.contains(a.id)) adjustments_[static_cast<std::size_t>(next_of(a.id)++)] = a;
}

void QuestionTable::add_mask(DeviceQuestion& to, MaskKind kind, std::span<const std::uint32_t> words) {
  to.mask = kind;
  to.first_mask_word = static_cast<std::int32_t>(mask_words_.size());
  to.mask_words = static_cast<std::int32_t>(words.size());
  to.first_bits = static_cast<std::int32_t>(part_.begin / 32);
  mask_words_.insert(mask_words_.end(), words.begin(), words.end());
}

DeviceList QuestionTable::add_list(std::int64_t wanted) {
  DeviceList list{};
  list.wanted = static_cast<std::int32_t>(std::min(wanted, part_.size()));
  list.first = candidates_;
  list.room = working_room(list.wanted);
  candidates_ += list_room(list.wanted);
  most_working_room_ = std::max(most_working_room_, list.room);
  return list;
}

bool QuestionTable::add(const RowQuestion& question) {
  if (questions_.size() == kMostQuestions) return false;
  const auto words = words_of_part(question.mask_words, question.mask, part_);
  const std::size_t most = question.adjustments.size() * sizeof(Adjustment) +
                           static_cast<std::size_t>(runs() + 1) * sizeof(std::int32_t) + words.size_bytes() +
                           sizeof(DeviceQuestion) + 4 * kAlignment;
  if (bytes() + most > kMostBytes) return false;
  DeviceQuestion to{};
  to.row = question.row;
  to.adjusts = question.adjusts();
  to.is_normalised = question.normaliser.has_value();
  to.normaliser = question.normaliser.value_or(0);
  to.run_begins = -1;
  if (!question.adjustments.empty()) add_adjustments(question.adjustments, to);
  if (question.mask != MaskKind::kNone) add_mask(to, question.mask, words);
  to.is_drawn = question.draws.has_value();
  to.draws = question.draws.value_or(DrawStream{});
  to.draw_scale = question.draw_scale;
  to.target = question.target;
  to.logit_sums = sums_;
  sums_ += runs();
  to.score_sum_scale = question.score_sum_scale;
  to.score_sums = sums_;
  if (question.score_sum_scale > 0) sums_ += runs();
  to.top = add_list(question.top);
  to.best = add_list(question.best);
  questions_.push_back(to);
  return true;
}

QuestionTable::Offsets QuestionTable::offsets() const noexcept {
  Offsets at{};
  at.adjustments = bytes_of(questions_);
  at.run_begins = at.adjustments + bytes_of(adjustments_);
  at.mask_words = at.run_begins + bytes_of(run_begins_);
  at.end = at.mask_words + bytes_of(mask_words_);
  return at;
}

std::size_t QuestionTable::bytes() const noexcept { return offsets().end; }

void QuestionTable::write(std::byte* out) const {
  const Offsets at = offsets();
  const auto put = [out](std::size_t offset, const auto& table) {
    if (!table.empty()) std::memcpy(out + offset, table.data(), table.size() * sizeof(table[0]));
  };
  put(0, questions_);
  put(at.adjustments, adjustments_);
  put(at.run_begins, run_begins_);
  put(at.mask_words, mask_words_);
}

void QuestionTable::point_to(const std::byte* at, ReadArguments& args) const {
  const Offsets from = offsets();
  args.questions = reinterpret_cast<const DeviceQuestion*>(at);
  args.adjustments = reinterpret_cast<const Adjustment*>(at + from.adjustments);
  args.run_begins = reinterpret_cast<const std::int32_t*>(at + from.run_begins);
  args.mask_words = reinterpret_cast<const std::uint32_t*>(at + from.mask_words);
}

}  // namespace llm_tp

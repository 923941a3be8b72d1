#include "decoding/score_list.h"

namespace llm_tp {
namespace {

bool inside(std::int32_t first, std::int32_t count, std::size_t size) {
  return first >= 0 && count >= 0 &&
         static_cast<std::size_t>(first) + static_cast<std::size_t>(count) <= size;
}

}  // namespace

void ScoreList::write(ByteWriter& out) const {
  out.list(rows);
  out.list(adjustments);
  out.list(mask_words);
}

ScoreList ScoreList::read(ByteReader& in, std::size_t step_rows) {
  ScoreList list;
  list.rows = in.list<RowRequest>();
  list.adjustments = in.list<Adjustment>();
  list.mask_words = in.list<std::uint32_t>();
  std::int32_t last = 0;
  for (const RowRequest& r : list.rows) {
    LLM_TP_CHECK(r.row >= last && static_cast<std::size_t>(r.row) < step_rows,
                 "step plan that scores a row it does not have, or out of order");
    LLM_TP_CHECK(inside(r.first_adjustment, r.adjustments, list.adjustments.size()) &&
                     inside(r.first_mask_word, r.mask_words, list.mask_words.size()),
                 "step plan with a scored row outside its lists");
    last = r.row;
  }
  return list;
}

}  // namespace llm_tp

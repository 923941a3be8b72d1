#include "decoding/row_maker.h"

namespace llm_tp {

RowRequest RowMaker::make(std::int32_t row, std::span<const TokenId> tokens, std::int32_t stream,
                          Guide::State guide_state, ScoreList& list) {
  RowRequest request;
  request.row = row;
  request.sequence = stream;
  request.position = static_cast<std::int32_t>(tokens.size());
  request.sampling = sampling_;
  request.best = best_;
  request.first_adjustment = static_cast<std::int32_t>(list.adjustments.size());
  processors_.append(tokens, list.adjustments);
  request.adjustments = static_cast<std::int32_t>(list.adjustments.size()) - request.first_adjustment;
  if (guide_ && guide_state != Guide::kDead) {
    const TokenMask& mask = guide_->mask(guide_state);
    request.mask = mask.kind;
    request.first_mask_word = static_cast<std::int32_t>(list.mask_words.size());
    request.mask_words = static_cast<std::int32_t>(mask.words.size());
    list.mask_words.insert(list.mask_words.end(), mask.words.begin(), mask.words.end());
  }
  return request;
}

}  // namespace llm_tp

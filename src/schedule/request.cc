#include "schedule/request.h"

#include <algorithm>

namespace llm_tp {

std::int64_t RequestNeeds::main_pages(std::int64_t page_tokens, std::int64_t most_held) const noexcept {
  const std::int64_t shared = shared_positions / page_tokens;
  const std::int64_t each = (positions + page_tokens - 1) / page_tokens;
  // Of a long prompt the sequences share what they still hold of it: neither bound is below what is needed.
  return std::min(shared + sequences * (each - shared), sequences * std::min(each, most_held));
}

std::int64_t RequestNeeds::draft_pages(std::int64_t page_tokens, std::int64_t most_held) const noexcept {
  return draft ? sequences * std::min((positions + page_tokens - 1) / page_tokens, most_held) : 0;
}

RequestNeeds needs_of(const Request& request) {
  RequestNeeds needs;
  needs.shared_positions = static_cast<std::int64_t>(request.prompt.size());
  // The last new token is never run, so it needs no place; but contrastive search looks at its state.
  const std::int32_t run = request.contrastive ? request.max_tokens : request.max_tokens - 1;
  needs.positions = needs.shared_positions + std::max(0, run);
  needs.sequences = request.beams         ? request.beams->beams
                    : request.contrastive ? request.contrastive->top_k
                                          : request.choices;
  needs.draft = request.speculation.kind == SpeculationKind::kDraftModel;
  return needs;
}

std::int32_t answers_of(const Request& request) {
  if (request.beams) return request.beams->returned;
  return request.contrastive || request.embedding ? 1 : request.choices;
}

std::unique_ptr<Strategy> make_strategy(const Request& request) {
  if (request.embedding) return make_embedding(*request.embedding, request.prompt);
  ProcessorSettings processors = request.processors;
  processors.end_ids = request.end_ids;
  processors.min_new_tokens = request.min_tokens;
  processors.max_length = static_cast<std::int32_t>(request.prompt.size()) + request.max_tokens;
  RowMaker rows(std::move(processors), request.sampling, request.guide,
                static_cast<std::int64_t>(request.prompt.size()), request.best);
  if (request.beams) {
    BeamSettings settings{request.beams->beams,
                          request.beams->length_penalty,
                          request.beams->early_stopping,
                          request.beams->returned,
                          request.max_tokens,
                          request.end_ids};
    return make_beam_search(std::move(settings), std::move(rows), request.prompt);
  }
  if (request.contrastive) {
    ContrastiveSettings settings{request.contrastive->penalty_alpha, request.contrastive->top_k,
                                 request.max_tokens, request.end_ids};
    return make_contrastive(std::move(settings), std::move(rows), request.prompt);
  }
  ChoiceSettings settings;
  settings.max_tokens = request.max_tokens;
  settings.end_ids = request.end_ids;
  settings.choices = request.choices;
  settings.first_stream = request.stream;
  settings.score_prompt = request.score_prompt;
  settings.whole_logits = request.whole_logits;
  settings.prompt_best = request.prompt_best;
  settings.speculation = request.speculation;
  return make_choices(std::move(settings), std::move(rows), request.prompt);
}

}  // namespace llm_tp

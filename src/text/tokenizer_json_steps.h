#pragma once
#include "text/json_document.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/vocabulary_tokenizer.h"

namespace llm_tp {

/// Calls visit(step, type) for a part of tokenizer.json that is null, one step, or a Sequence of steps under
/// `list_key`, which may hold Sequences in turn.
template <typename Visit>
void for_each_step(const JsonPlace& place, const char* list_key, const Visit& visit) {
  if (place.is_null()) return;
  const std::string type = place.at("type").string();
  if (type != "Sequence") return visit(place, type);
  const JsonPlace list = place.at(list_key);
  list.require_array();
  for (std::size_t i = 0; i < list.value().size(); ++i) for_each_step(list.element(i), list_key, visit);
}

/// The steps of tokenizer.json around its model. Errors: kBadData with the key of a step that is not
/// supported.
Normalizer read_normalizer(const JsonPlace& place);
PreTokenizer read_pre_tokenizer(const JsonPlace& place);

struct Decoding {
  TokenDecoder tokens;
  Vocabulary::LeadingSpaces leading_spaces = Vocabulary::LeadingSpaces::kKept;
};
Decoding read_decoder(const JsonPlace& place);

}  // namespace llm_tp

#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/json_document.h"
#include "text/subword_model.h"

namespace llm_tp {

/// The vocabulary of tokenizer.json's model, before added tokens. Ids may leave holes.
struct JsonVocabulary {
  std::unordered_map<std::string, TokenId> ids;  // by text
  std::vector<std::string> texts;                // by id; holes are empty
};
/// Errors: kBadData with the key.
JsonVocabulary read_model_vocabulary(const JsonPlace& model);

/// The model itself. special: by id, control tokens, which no plain text becomes. Errors: kBadData with the
/// key.
std::unique_ptr<const SubwordModel> read_model(const JsonPlace& model, const JsonVocabulary& vocabulary,
                                               const std::vector<bool>& special);

/// Ids may leave holes, but not so many that a few lines of JSON ask for gigabytes.
std::int64_t largest_token_id(std::size_t tokens);

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "decoding/strategy.h"

namespace llm_tp {

/// How the hidden states of a text's tokens become one vector.
enum class Pooling : std::int32_t {
  kMean,  // of all tokens, begin and end ids too
  kLast,  // of the last token, which has seen all others
};

struct EmbeddingSettings {
  Pooling pooling = Pooling::kMean;
  bool normalised = true;  // to length 1; a vector of zeros stays one
};

/// Runs the prompt once and gives its embedding, from the states after the final norm: the only output has it
/// in row.state, [H], and finishes by length. Sums are in double in the order of the positions, so the bits
/// do not depend on how the prompt was cut into steps.
std::unique_ptr<Strategy> make_embedding(EmbeddingSettings settings, std::vector<TokenId> prompt);

}  // namespace llm_tp

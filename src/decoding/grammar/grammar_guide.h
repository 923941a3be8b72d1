#pragma once
#include <memory>
#include <string>
#include <vector>

#include "decoding/grammar/grammar.h"
#include "decoding/guide.h"

namespace llm_tp {

/// Texts that a completion must fit, as a grammar over a vocabulary (Willard & Louf 2023 for automata; stacks
/// as in Koo et al. 2024). The automaton works on bytes, so tokens may begin and end inside code points and
/// across borders of the grammar. Masks are kept by state.
/// pieces: the bytes of each token, empty for those that never belong to a text. end_ids: allowed where the
/// text may end. Errors: those of Network::compile.
std::shared_ptr<Guide> make_guide(const Grammar& grammar, const std::string& what,
                                  const std::vector<std::string>& pieces, std::vector<TokenId> end_ids);

}  // namespace llm_tp

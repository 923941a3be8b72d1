#include "commands/guided.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "commands/generation.h"
#include "decoding/grammar/frontends.h"
#include "decoding/grammar/grammar_guide.h"

namespace llm_tp {
namespace {

/// The settings that are there, by name.
std::vector<std::string> asked_for(const GenerationConfig& g) {
  std::vector<std::string> names;
  if (g.json_schema) names.emplace_back("json_schema");
  if (g.regex) names.emplace_back("regex");
  if (g.grammar) names.emplace_back("grammar");
  if (!g.choice.empty()) names.emplace_back("choice");
  return names;
}

Grammar grammar_of(const GenerationConfig& g) {
  if (g.json_schema) return grammar_of_json_schema(read_text(*g.json_schema), *g.json_schema);
  if (g.regex) return grammar_of_regex(*g.regex);
  if (g.grammar) return grammar_of_ebnf(read_text(*g.grammar), *g.grammar);
  return grammar_of_choices(g.choice);
}

/// The text of every id of the model; control tokens and ids that the tokenizer does not have stand for none.
std::vector<std::string> pieces_of(const ModelFiles& files) {
  std::vector<std::string> pieces(static_cast<std::size_t>(files.shape.vocabulary));
  for (TokenId id = 0; id < files.tokenizer->vocabulary_size(); ++id)
    pieces[static_cast<std::size_t>(id)] = files.tokenizer->piece(id);
  return pieces;
}

}  // namespace

std::shared_ptr<Guide> make_guide(const GenerationConfig& generation, const ModelFiles& files,
                                  const std::vector<TokenId>& end_ids) {
  const std::vector<std::string> names = asked_for(generation);
  if (names.empty()) return nullptr;
  if (names.size() > 1)
    throw Error(ExitCode::kUsage, names[0] + " and " + names[1] +
                                      " do not go together: a completion fits one grammar; leave one out");
  if (!files.tokenizer)
    throw Error(ExitCode::kUsage, names[0] + " needs a tokenizer, and this model has none");
  return make_guide(grammar_of(generation), names[0], pieces_of(files), end_ids);
}

}  // namespace llm_tp

#include <cstdio>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/json_output.h"
#include "engine/model_files.h"
#include "text/chat_template.h"

namespace llm_tp {
namespace {

std::string render_chat(const Tokenizer& tokenizer, const CommandLine& line) {
  const auto source = tokenizer.chat_template();
  if (!source) throw Error(ExitCode::kUsage, "the model has no chat template");
  ChatOptions options;
  options.add_generation_prompt = line.add_generation_prompt;
  if (const auto id = tokenizer.begin_id()) options.bos_token = tokenizer.piece(*id, true);
  if (const auto ids = tokenizer.end_ids(); !ids.empty()) options.eos_token = tokenizer.piece(ids[0], true);
  return ChatTemplate(*source).render(read_text(*line.chat_file), options);
}

}  // namespace

void tokenize_command(const CommandLine& line) {
  const auto tokenizer = ModelFiles::open_tokenizer(line.resolved.config.model);
  const int ways = line.text.has_value() + line.text_file.has_value() + line.chat_file.has_value() +
                   line.decode.has_value();
  if (ways != 1)
    throw Error(ExitCode::kUsage, "tokenize needs one of --text, --text-file, --chat and --decode");
  std::vector<TokenId> ids;
  std::string text;
  if (line.decode) {
    ids = *line.decode;
    for (TokenId id : ids)
      if (id >= tokenizer->vocabulary_size())
        throw Error(ExitCode::kUsage, "token id " + std::to_string(id) +
                                          " is outside the vocabulary: wanted 0 to " +
                                          std::to_string(tokenizer->vocabulary_size() - 1));
    text = tokenizer->decode(ids);
  } else if (line.chat_file) {
    text = render_chat(*tokenizer, line);
    ids = tokenizer->encode(text, false);  // the template writes the begin token itself
  } else {
    text = line.text ? *line.text : read_text(*line.text_file);
    ids = tokenizer->encode(text, !line.no_special);
  }
  if (line.json) return print_json({{"tokens", ids}, {"text", text}});
  if (line.decode) return static_cast<void>(std::printf("%s\n", text.c_str()));
  for (TokenId id : ids) std::printf("%8d  %s\n", id, tokenizer->piece(id, true).c_str());
}

}  // namespace llm_tp

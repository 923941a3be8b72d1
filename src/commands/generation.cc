#include "commands/generation.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.h"
#include "commands/decoding_options.h"
#include "commands/guided.h"
#include "text/chat_template.h"

namespace llm_tp {
namespace {

std::vector<TokenId> end_ids(const GenerationConfig& generation, const ModelFiles& files) {
  std::vector<TokenId> ids;
  if (!generation.ignore_eos) ids = generation.eos_token_ids ? *generation.eos_token_ids : files.end_ids;
  ids.insert(ids.end(), generation.stop_token_ids.begin(), generation.stop_token_ids.end());
  for (TokenId id : ids)
    if (id < 0 || id >= files.shape.vocabulary)
      throw Error(ExitCode::kUsage, "end token id " + std::to_string(id) + " is outside the vocabulary of " +
                                        std::to_string(files.shape.vocabulary));
  return ids;
}

}  // namespace

std::string read_text(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(ExitCode::kBadData, path + ": is a folder, wanted a text file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ExitCode::kMissingFile, path + ": cannot be read");
  std::string text;
  std::vector<char> part(1 << 16);
  while (file.read(part.data(), static_cast<std::streamsize>(part.size())) || file.gcount() > 0) {
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > (std::size_t{64} << 20)) throw Error(ExitCode::kUsage, path + ": larger than 64 MiB");
  }
  if (file.bad()) throw Error(ExitCode::kIoError, path + ": cannot be read to its end");
  return text;
}

GenerationPlan GenerationPlan::of(const EngineConfig& config, const ModelFiles& files) {
  GenerationPlan plan;
  const GenerationConfig g = with_defaults(config.generation, files.generation, plan.used_defaults);
  Request& request = plan.request;
  request.sampling = sampling_of(g);
  request.sampling.seed = g.seed ? static_cast<std::uint64_t>(*g.seed) : std::random_device{}();
  request.min_tokens = static_cast<std::int32_t>(g.min_tokens.value_or(0));
  request.max_tokens = static_cast<std::int32_t>(g.max_tokens.value_or(std::max(256, request.min_tokens)));
  if (request.min_tokens > request.max_tokens)
    throw Error(ExitCode::kUsage, "min_tokens " + std::to_string(request.min_tokens) +
                                      " is above max_tokens " + std::to_string(request.max_tokens));
  request.end_ids = end_ids(g, files);
  request.best = static_cast<std::int32_t>(g.logprobs.value_or(0));
  request.prompt_best = request.best;
  request.score_prompt = g.echo && g.logprobs.has_value();
  plan.stops = g.stop;
  for (const std::string& stop : plan.stops)
    if (stop.empty())
      throw Error(ExitCode::kUsage, "stop: an empty text would stop everything; give some text");
  if (!plan.stops.empty() && !files.tokenizer)
    throw Error(ExitCode::kUsage, "stop texts need a tokenizer, and this model has none");
  plan.include_stop = g.include_stop_str_in_output;
  plan.echo = g.echo;
  set_decoding_options(g, files, request);
  if (g.use_adapter) request.adapter = files.adapter_called(*g.use_adapter);
  request.guide = make_guide(g, files, request.end_ids);
  plan.context = config.max_context > 0 ? config.max_context : files.shape.context;
  if (plan.context > files.shape.context)
    throw Error(ExitCode::kUsage, "max_context " + std::to_string(plan.context) + " is above the model's " +
                                      std::to_string(files.shape.context));
  return plan;
}

void GenerationPlan::set_prompt(std::vector<TokenId> prompt, std::int64_t vocabulary) {
  if (prompt.empty()) throw Error(ExitCode::kUsage, "the prompt has no tokens; give some text");
  for (TokenId id : prompt)
    if (id < 0 || id >= vocabulary)
      throw Error(ExitCode::kUsage, "token id " + std::to_string(id) +
                                        " is outside the vocabulary: wanted 0 to " +
                                        std::to_string(vocabulary - 1));
  const auto length = static_cast<std::int64_t>(prompt.size());
  if (length > context || (length == context && request.max_tokens > 0))
    throw Error(ExitCode::kUsage, "the prompt has " + std::to_string(length) + " tokens, the context " +
                                      std::to_string(context) + " (max_context): shorten the prompt");
  request.max_tokens =
      static_cast<std::int32_t>(std::min<std::int64_t>(request.max_tokens, context - length));
  request.prompt = std::move(prompt);
}

LoadPlan GenerationPlan::room(const EngineConfig& config) const {
  const RequestNeeds needs = needs_of(request);
  LoadPlan load;
  load.sequences = needs.sequences;
  load.kv_tokens = needs.main_pages(config.page_tokens) * config.page_tokens;
  load.draft = needs.draft;
  // A step holds the prompt's rows, or each sequence's newest token and guesses.
  const bool guesses = request.speculation.kind != SpeculationKind::kNone || request.guide != nullptr;
  const std::int64_t rows =
      std::max(needs.shared_positions, needs.sequences * (guesses ? 1 + request.speculation.most : 1));
  load.most_rows = std::min<std::int64_t>(config.prefill_chunk, rows);
  return load;
}

std::vector<TokenId> chat_tokens(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                 std::string* text) {
  const auto source = tokenizer.chat_template();
  if (!source)
    throw Error(ExitCode::kUsage, "the model has no chat template; give the prompt without --chat");
  ChatOptions options;
  options.add_generation_prompt = true;
  if (const auto id = tokenizer.begin_id()) options.bos_token = tokenizer.piece(*id, true);
  if (const auto ids = tokenizer.end_ids(); !ids.empty()) options.eos_token = tokenizer.piece(ids[0], true);
  const std::string rendered = ChatTemplate(*source).render(messages, options);
  if (text != nullptr) *text = rendered;
  return tokenizer.encode(rendered, false);
}

}  // namespace llm_tp

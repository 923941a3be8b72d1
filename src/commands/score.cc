#include <cmath>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/json_output.h"
#include "commands/npy_writer.h"

namespace llm_tp {
namespace {

std::vector<TokenId> tokens_to_score(const CommandLine& line, const ModelFiles& files) {
  if (line.tokens) return *line.tokens;
  if (!line.text && !line.text_file)
    throw Error(ExitCode::kUsage, "score needs --text, --text-file or --tokens");
  if (!files.tokenizer) throw Error(ExitCode::kUsage, files.name + " has no tokenizer: give --tokens 1,2,3");
  return files.tokenizer->encode(line.text ? *line.text : read_text(*line.text_file), true);
}

}  // namespace

void score_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  GenerationPlan plan;
  const auto prepare = [&](ModelFiles& files) {
    plan = GenerationPlan::of(config, files);
    const AdapterId adapter = plan.request.adapter;
    plan.request = Request{};  // the model's own scores, whatever else the configuration asks for
    plan.request.adapter = adapter;
    plan.request.max_tokens = 0;
    plan.set_prompt(tokens_to_score(line, files), files.shape.vocabulary);
    plan.request.score_prompt = true;
    plan.request.whole_logits = line.logits.has_value();
    return plan.room(config);
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double) {
    const auto count = static_cast<std::int64_t>(plan.request.prompt.size());
    std::optional<NpyWriter> logits;
    if (line.logits) logits.emplace(*line.logits, count, files.shape.vocabulary);
    Json logprobs = Json::array({nullptr});  // nothing stands before the first token
    double total = 0;
    leader.scheduler().add(plan.request);
    leader.run([&](const Progress& progress) {
      if (logits) logits->row(progress.row.whole);
      if (!progress.row.target_logprob) return;
      logprobs.push_back(*progress.row.target_logprob);
      total += *progress.row.target_logprob;
    });
    if (logits) logits->close();
    const double nll = count > 1 ? -total / static_cast<double>(count - 1) : std::nan("");
    if (line.json)
      return print_json({{"tokens", plan.request.prompt},
                         {"logprobs", logprobs},
                         {"mean_nll", nll},
                         {"perplexity", std::exp(nll)}});
    for (std::int64_t t = 0; t < count; ++t) {
      const auto i = static_cast<std::size_t>(t);
      const std::string text = files.tokenizer ? files.tokenizer->piece(plan.request.prompt[i], true) : "";
      if (t == 0)
        std::printf("%8d          -  %s\n", plan.request.prompt[i], text.c_str());
      else
        std::printf("%8d  %9.4f  %s\n", plan.request.prompt[i], logprobs[i].get<double>(), text.c_str());
    }
    std::printf("mean negative log-probability %.6f, perplexity %.4f over %lld tokens\n", nll, std::exp(nll),
                static_cast<long long>(count - 1));
  });
}

}  // namespace llm_tp

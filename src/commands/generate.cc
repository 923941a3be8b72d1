#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/json_output.h"
#include "commands/standard_output.h"

namespace llm_tp {
namespace {

std::string prompt_text(const GenerationConfig& generation) {
  if (generation.prompt) return *generation.prompt;
  if (generation.prompt_file) return read_text(*generation.prompt_file);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

std::vector<TokenId> prompt_tokens(const CommandLine& line, const ModelFiles& files, std::string& text) {
  if (line.prompt_tokens) return *line.prompt_tokens;
  if (!files.tokenizer)
    throw Error(ExitCode::kUsage, files.name + " has no tokenizer: give the prompt as --prompt-tokens 1,2,3");
  const GenerationConfig& generation = line.resolved.config.generation;
  text = prompt_text(generation);
  if (!generation.chat) return files.tokenizer->encode(text, true);
  std::vector<ChatMessage> messages;
  if (generation.system) messages.push_back({"system", *generation.system});
  messages.push_back({"user", text});
  return chat_tokens(*files.tokenizer, messages);
}

Json token_json(const Completion::Token& token) {
  Json top = Json::array();
  for (const auto& [id, logprob] : token.top) top.push_back({{"token", id}, {"logprob", logprob}});
  return {{"token", token.id}, {"logprob", token.logprob}, {"top", std::move(top)}};
}

Json choice_json(std::size_t index, const Completion& c, const std::string& echo, bool with_logprobs) {
  Json tokens = Json::array();
  for (const Completion::Token& t : c.tokens()) tokens.push_back(t.id);
  Json choice{{"index", index}, {"tokens", std::move(tokens)}};
  if (c.has_text())
    choice["text"] = echo + c.text();
  else
    choice["text"] = nullptr;
  choice["finish_reason"] = c.finish_reason();
  choice["cumulative_logprob"] = c.cumulative_logprob();
  if (c.score()) choice["score"] = *c.score();
  if (with_logprobs) {
    Json list = Json::array();
    for (const Completion::Token& t : c.tokens()) list.push_back(token_json(t));
    choice["logprobs"] = std::move(list);
  }
  return choice;
}

/// Log-probabilities of the prompt's tokens, with --echo and --logprobs.
class PromptLogprobs {
 public:
  /// False for what belongs to the completion.
  bool take(const Progress& progress) {
    if (!progress.row.target_logprob) return false;
    Json top = Json::array();
    for (const Candidate& c : progress.row.best)
      top.push_back({{"token", c.id}, {"logprob", c.logit - progress.row.log_sum_exp}});
    list_.push_back({{"logprob", *progress.row.target_logprob}, {"top", std::move(top)}});
    return true;
  }
  /// Nothing stands before the first token.
  Json json() const { return list_; }

 private:
  Json list_ = Json::array({nullptr});
};

/// What the search did, where it is more than a token a step.
void add_figures(const Request& request, const ScheduleFigures& figures, Json& answer) {
  const StrategyFigures& s = figures.strategies;
  const auto per = [](std::int64_t a, std::int64_t b) {
    return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0.0;
  };
  if (request.speculation.kind != SpeculationKind::kNone || request.guide)
    answer["speculation"] = {{"drafted", s.drafted},
                             {"accepted", s.accepted},
                             {"acceptance_rate", per(s.accepted, s.drafted)},
                             {"tokens_per_verification", per(s.verified_tokens, s.verifications)}};
  if (request.beams || request.contrastive)
    answer["search"] = {{"steps", figures.steps},
                        {"pages_copied", figures.pages_copied},
                        {"pages_copied_per_step", per(figures.pages_copied, figures.steps)}};
}

double rate(std::int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

}  // namespace

void generate_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  GenerationPlan plan;
  std::string prompt;
  const auto prepare = [&](ModelFiles& files) {
    plan = GenerationPlan::of(config, files);
    plan.set_prompt(prompt_tokens(line, files, prompt), files.shape.vocabulary);
    return plan.room(config);
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double load_seconds) {
    if (!plan.used_defaults.empty())
      log_info("from the model's generation_config.json: " + plan.used_defaults);
    const bool streams = !line.json && plan.returned() == 1;
    std::vector<Completion> completions;
    for (std::int32_t i = 0; i < plan.returned(); ++i)
      completions.emplace_back(files.tokenizer.get(), plan.stops, plan.include_stop, plan.request.min_tokens);
    const std::string echo = plan.echo ? prompt : std::string();
    if (streams) std::fputs(echo.c_str(), stdout);
    PromptLogprobs prompt_logprobs;
    const RequestId id = leader.scheduler().add(plan.request);
    leader.run([&](const Progress& progress) {
      if (prompt_logprobs.take(progress)) return;
      Completion& completion = completions[static_cast<std::size_t>(progress.choice)];
      const bool was_stopped = completion.stopped();
      const std::string text = completion.push(progress);
      if (completion.stopped() && !was_stopped) leader.scheduler().cancel(id, progress.choice);
      if (!streams) return;
      if (completion.has_text())
        std::fwrite(text.data(), 1, text.size(), stdout);
      else if (progress.new_token)
        std::printf("%d ", progress.row.token);
      flush_stdout();
    });
    if (streams) return static_cast<void>(std::puts(""));
    if (!line.json) {
      for (std::size_t i = 0; i < completions.size(); ++i)
        std::printf("--- %zu\n%s%s\n", i, echo.c_str(), completions[i].text().c_str());
      return;
    }
    Json choices = Json::array();
    std::int64_t made = 0;
    for (std::size_t i = 0; i < completions.size(); ++i) {
      choices.push_back(choice_json(i, completions[i], echo, config.generation.logprobs.has_value()));
      made += static_cast<std::int64_t>(completions[i].tokens().size());
    }
    const Leader::StepTimes& times = leader.times();
    Json answer{
        {"model", files.name},
        {"ranks", group.world()},
        {"prompt_tokens", plan.request.prompt},
        {"choices", std::move(choices)},
        {"usage",
         {{"prompt_tokens", plan.request.prompt.size()}, {"completion_tokens", made}, {"cached_tokens", 0}}},
        {"seed", plan.request.sampling.seed},
        {"timings",
         {{"load_seconds", load_seconds},
          {"prefill_tokens_per_second", rate(times.prefill_tokens, times.prefill_seconds)},
          {"decode_tokens_per_second", rate(times.decode_tokens, times.decode_seconds)},
          {"decode_rows_per_second", rate(times.decode_rows, times.decode_seconds)}}}};
    if (plan.request.score_prompt) answer["prompt_logprobs"] = prompt_logprobs.json();
    add_figures(plan.request, leader.scheduler().figures(), answer);
    print_json(answer);
  });
}

}  // namespace llm_tp

#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/standard_output.h"
#include "text/chat_template.h"

namespace llm_tp {

void chat_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  GenerationPlan plan;
  const auto prepare = [&](ModelFiles& files) {
    if (line.json)
      throw Error(ExitCode::kUsage, "chat has no --json: it is a conversation; use generate --chat --json");
    plan = GenerationPlan::of(config, files);
    if (!files.tokenizer || !files.tokenizer->chat_template())
      throw Error(ExitCode::kUsage, files.name + " has no chat template: use generate");
    if (plan.returned() > 1 || plan.request.beams || plan.request.contrastive)
      throw Error(ExitCode::kUsage,
                  "chat prints one answer as it comes: leave out n, num_beams and penalty_alpha");
    return LoadPlan{plan.context, std::min(config.prefill_chunk, plan.context), 1,
                    needs_of(plan.request).draft};
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double) {
    if (!plan.used_defaults.empty())
      log_info("from the model's generation_config.json: " + plan.used_defaults);
    log_info("a conversation; an empty line or Ctrl-D ends it");
    std::vector<ChatMessage> messages;
    if (config.generation.system) messages.push_back({"system", *config.generation.system});
    std::int32_t turn = 0;
    for (std::string said;
         std::fputs("> ", stdout), flush_stdout(), std::getline(std::cin, said) && !said.empty();) {
      messages.push_back({"user", said});
      GenerationPlan next = plan;
      try {
        next.set_prompt(chat_tokens(*files.tokenizer, messages), files.shape.vocabulary);
      } catch (const Error& error) {
        log_error(error.what());
        messages.pop_back();
        continue;
      }
      next.request.stream = turn++;
      const RequestId id = leader.scheduler().add(next.request);
      Completion completion(files.tokenizer.get(), plan.stops, plan.include_stop, plan.request.min_tokens);
      leader.run([&](const Progress& progress) {
        std::fputs(completion.push(progress).c_str(), stdout);
        flush_stdout();
        if (completion.stopped()) leader.scheduler().cancel(id);
      });
      std::puts("");
      messages.push_back({"assistant", completion.text()});
    }
    std::puts("");
  });
}

}  // namespace llm_tp

#include "commands/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "config/parse_value.h"

namespace llm_tp {
namespace {

struct CommandHelp {
  const char* name;
  const char* summary;
  const char* examples;
};
constexpr std::array<CommandHelp, 13> kCommands{{
    {"generate", "complete a prompt and stream the text",
     "  llm-tp --model models/harbour/hf --prompt 'Once upon a time'\n"
     "  mpirun -np 4 llm-tp --config 70b.yaml --prompt-file question.txt --max-tokens 400\n"
     "  llm-tp generate --model m.gguf --chat --prompt 'Who are you?' --temperature 0.7 --top-p 0.9 --seed 1 "
     "--json\n"},
    {"chat", "a conversation in the terminal",
     "  mpirun -np 2 llm-tp chat --model SmolLM2-135M-Instruct.Q4_1.gguf\n"},
    {"score", "log-probability of every token of a text",
     "  llm-tp score --model models/harbour/hf --text-file story.txt --json\n"
     "  llm-tp score --model m.gguf --tokens 1,15,7 --logits out.npy\n"},
    {"embed", "a vector for each text, from the model's last hidden states",
     "  llm-tp embed --model models/harbour/hf --text 'A calm sea' --text 'A storm' --json\n"
     "  mpirun -np 4 llm-tp embed --model m.gguf --text-file lines.txt --pooling last --json\n"
     "  llm-tp embed --model m.gguf --normalize false < lines.txt\n"},
    {"tokenize", "text to token ids and back",
     "  llm-tp tokenize --model m.gguf --text 'Hello' --json\n"
     "  llm-tp tokenize --model m.gguf --chat messages.json --add-generation-prompt\n"
     "  llm-tp tokenize --model m.gguf --decode 9906,1917\n"},
    {"inspect", "the model, and every rank's share and memory, from headers alone",
     "  llm-tp inspect --model 70b/ --ranks 6\n"},
    {"bench", "speed of prefill and decode, and peak memory; kernels: of each kernel by itself",
     "  mpirun -np 2 llm-tp bench --model m.gguf --threads 1 --prompt-tokens 512 --decode-tokens 128 --json\n"
     "  llm-tp bench --model dummy:70b/ --dtype q4_0\n"
     "  llm-tp bench kernels --model dummy:70b/ --ranks 8 --device cuda\n"},
    {"batch", "answer a file of requests in OpenAI's batch format; started again, it resumes",
     "  mpirun -np 4 llm-tp batch --model m.gguf --input in.jsonl --output out.jsonl --stop-after 3h50m\n"},
    {"serve", "OpenAI's HTTP API", "  mpirun -np 4 llm-tp serve --model m.gguf --port 8000 --max-batch 16\n"},
    {"loadtest", "speed and delays of a server under many streams, or at a rate of arrival",
     "  llm-tp loadtest --url http://127.0.0.1:8000 --streams 1,8,32 --new-tokens 64 --json\n"
     "  llm-tp loadtest --rates 2,4,8 --seconds 60 --prompt-words 400 --shared-words 300\n"},
    {"doctor", "what this group of ranks can do: MPI, devices, links, limits, files; and what to mend",
     "  mpirun -np 4 llm-tp doctor\n  mpirun -np 8 llm-tp doctor --device cuda --model 70b/ --json\n"},
    {"config", "show: the resolved configuration with the origin of each key; check: only its errors",
     "  llm-tp config show --config 70b.yaml --threads 4\n  llm-tp config check --config 70b.yaml\n"},
    {"version", "version, build, libraries, instruction set", "  llm-tp version --json\n"},
}};

std::string overview() {
  std::string text =
      "llm-tp: tensor-parallel LLM inference for clusters\n\n"
      "  llm-tp [COMMAND] [--config FILE.yaml] [--set section.key=value]... [flags]\n"
      "  mpirun -np N llm-tp [COMMAND] ...        any N: the rank count comes from MPI\n\n"
      "Without COMMAND the file's `command:` runs, else generate. A flag wins over LLM_TP_* variables, these "
      "over --set,\n"
      "these over the YAML file, and that over the defaults.\n\nCommands (llm-tp COMMAND --help for each):\n";
  for (const CommandHelp& c : kCommands)
    text += std::string("  ") + c.name + std::string(11 - std::string(c.name).size(), ' ') + c.summary + "\n";
  text += "\nExamples:\n";
  for (const CommandHelp& c : kCommands) text += c.examples;
  text +=
      "\nExit codes: 0 ok, 64 usage, 65 bad data or model, 66 missing file, 69 no device or peer, 70 bug, 71 "
      "out of memory,\n"
      "74 input or output failed, 75 try again (a rank was lost, or told to stop), 78 config.\n";
  return text;
}

const CommandHelp* find_command(const std::string& name) {
  const auto at =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const CommandHelp& c) { return name == c.name; });
  return at == kCommands.end() ? nullptr : &*at;
}

std::vector<TokenId> token_list(const std::string& flag, const std::string& text) {
  std::vector<TokenId> ids;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    TokenId id = 0;
    const auto [at, error] = std::from_chars(text.data() + begin, text.data() + end, id);
    if (error != std::errc() || at != text.data() + end || id < 0)
      throw Error(ExitCode::kUsage, flag + ": found \"" + text.substr(begin, end - begin).substr(0, 40) +
                                        "\", wanted token ids from 0 with commas between, as in 1,15,7");
    ids.push_back(id);
    begin = end + 1;
  }
  return ids;
}

/// Flags of a section that is named after a command belong to that command alone; requests of batch and serve
/// bring their own settings of generation, embed generates nothing, and loadtest runs no model.
bool takes_flags_of(const std::string& command, const std::string& section) {
  if (section == "generation")
    return command != "batch" && command != "serve" && command != "embed" && command != "loadtest";
  return section.empty() || section == command;
}

void add_key_flags(CLI::App& app, const std::string& command,
                   std::vector<std::pair<std::string, std::string>>& flags) {
  for (const KeyInfo& key : key_table()) {
    const std::string section =
        key.name.find('.') == std::string::npos ? "" : key.name.substr(0, key.name.find('.'));
    if (key.flag.empty() || !takes_flags_of(command, section)) continue;
    if (command == "tokenize" && key.name == "generation.chat") continue;  // there --chat takes a file
    const std::string text = key.help + (key.unit.empty() ? "" : " [" + key.unit + "]") +
                             (key.allowed.empty() ? "" : "; " + key.allowed);
    CLI::Option* option = nullptr;
    if (key.takes_value())
      option = app.add_option_function<std::vector<std::string>>(
                      key.flag,
                      [&flags, name = key.name](const std::vector<std::string>& values) {
                        for (const std::string& value : values) flags.emplace_back(name, value);
                      },
                      text)
                   ->expected(1)
                   ->take_all();
    else
      option = app.add_flag_callback(
          key.flag, [&flags, name = key.name] { flags.emplace_back(name, "true"); }, text);
    option->group(section.empty() ? "Engine" : section == "generation" ? "Generation" : "Of this command");
  }
}

/// The value of --config on a command line that was not parsed yet.
std::optional<std::string> config_file(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--config" && i + 1 < words.size()) return words[i + 1];
    if (words[i].starts_with("--config=")) return words[i].substr(9);
  }
  return std::nullopt;
}

std::string chosen_command(std::vector<std::string>& words) {
  if (!words.empty() && !words[0].starts_with("-")) {
    const std::string name = words[0];
    if (find_command(name) == nullptr) {
      std::string known;
      for (const CommandHelp& c : kCommands) known += std::string(known.empty() ? "" : ", ") + c.name;
      throw Error(ExitCode::kUsage, "\"" + name.substr(0, 60) + "\" is not a command; commands are " + known +
                                        " (see llm-tp --help)");
    }
    words.erase(words.begin());
    return name;
  }
  ConfigInputs inputs;
  if (const auto file = config_file(words)) inputs.file = *file;
  const std::string command = load_config(inputs).config.command;
  if (find_command(command) == nullptr)
    throw Error(ExitCode::kConfig, "command: " + command + " is not in this build yet");
  return command;
}

/// "; did you mean --model?" for the first flag that the command does not have and that is like one of its
/// own.
std::string did_you_mean(const CLI::App& app) {
  for (const std::string& word : app.remaining()) {
    if (!word.starts_with("--")) continue;
    const std::string flag = word.substr(0, std::min<std::size_t>(word.find('='), 80));
    std::string nearest;
    int best = 3;
    for (const CLI::Option* option : app.get_options()) {
      const std::string name = option->get_name();
      if (const int distance = edit_distance(flag, name); distance < best) best = distance, nearest = name;
    }
    if (!nearest.empty()) return "; did you mean " + nearest + "?";
  }
  return "";
}

/// Ids are the whole prompt: texts beside them would be lost.
void refuse_prompt_beside_ids(const CLI::App& app) {
  for (const char* flag : {"--prompt", "--prompt-file", "--chat", "--system"})
    if (app.get_option(flag)->count() > 0)
      throw Error(ExitCode::kUsage, std::string(flag) +
                                        " and --prompt-tokens do not go together: ids are the whole prompt; "
                                        "leave one out");
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  CommandLine line;
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h" || words[0] == "help")) {
    line.help = overview();
    return line;
  }
  line.command = chosen_command(words);
  const std::string& command = line.command;

  ConfigInputs inputs;
  inputs.environment = process_environment();
  CLI::App app(find_command(command)->summary, "llm-tp " + command);
  app.footer(std::string("Examples:\n") + find_command(command)->examples);
  app.allow_windows_style_options(false);
  std::string file, prompt_tokens, tokens, decode, text, text_file, logits, chat_file;
  app.add_option("--config", file, "YAML file with any key (docs/config.md)");
  app.add_option("--set", inputs.sets, "section.key=value, as in the YAML file; repeatable")
      ->expected(1)
      ->take_all();
  app.add_flag("--json", line.json, "stdout holds one JSON object only");
  add_key_flags(app, command, inputs.flags);
  if (command == "generate")
    app.add_option("--prompt-tokens", prompt_tokens, "the prompt as token ids: 1,2,3");
  if (command == "score" || command == "tokenize") {
    app.add_option("--text", text, "the text");
    app.add_option("--text-file", text_file, "a file with the text");
  }
  if (command == "score" || command == "embed")
    app.add_option("--tokens", tokens, "token ids instead of text: 1,2,3");
  if (command == "score") {
    app.add_option("--logits", logits,
                   "write float32 [tokens, vocabulary] to this .npy; row t after token t");
  }
  if (command == "tokenize") {
    app.add_option("--chat", chat_file, "a JSON list of {role, content}, rendered with the chat template");
    app.add_flag("--add-generation-prompt", line.add_generation_prompt,
                 "with --chat: end with the assistant's opening");
    app.add_flag("--no-special", line.no_special, "no begin and end ids");
    app.add_option("--decode", decode, "token ids to turn into text: 1,2,3");
  }
  if (command == "inspect")
    app.add_option("--ranks", line.ranks, "show the shares of so many ranks")->check(CLI::Range(1, 4096));
  if (command == "bench") {
    app.add_option("action", line.bench_action, "kernels: each kernel of the model's shapes by itself")
        ->check(CLI::IsMember({"kernels"}));
    app.add_option("--ranks", line.ranks, "kernels: of the first of so many ranks")
        ->check(CLI::Range(1, 4096));
  }
  if (command == "config")
    app.add_option("action", line.config_action, "show or check")
        ->check(CLI::IsMember({"show", "check"}))
        ->required();
  try {
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    line.help = app.help();
    return line;
  } catch (const CLI::ExtrasError& error) {
    throw Error(ExitCode::kUsage,
                std::string(error.what()) + did_you_mean(app) + " (see llm-tp " + command + " --help)");
  } catch (const CLI::ParseError& error) {
    throw Error(ExitCode::kUsage, std::string(error.what()) + " (see llm-tp " + command + " --help)");
  }
  const auto given = [&](const char* flag) {
    const CLI::Option* o = app.get_option_no_throw(flag);
    return o != nullptr && o->count() > 0;
  };
  if (given("--config")) inputs.file = file;
  if (command == "bench" && given("--ranks") && line.bench_action.empty())
    throw Error(ExitCode::kUsage,
                "--ranks is a flag of bench kernels; bench itself takes the ranks it was "
                "started with: mpirun -np " +
                    std::to_string(line.ranks) + " llm-tp bench");
  if (command == "generate" && given("--prompt-tokens")) {
    refuse_prompt_beside_ids(app);
    line.prompt_tokens = token_list("--prompt-tokens", prompt_tokens);
  }
  if (given("--tokens")) line.tokens = token_list("--tokens", tokens);
  if (given("--decode")) line.decode = token_list("--decode", decode);
  if (command != "embed" && given("--text")) line.text = text;
  if (command != "embed" && given("--text-file")) line.text_file = text_file;
  if (given("--logits")) line.logits = logits;
  if (command == "tokenize" && given("--chat")) line.chat_file = chat_file;
  line.resolved = load_config(inputs);
  return line;
}

}  // namespace llm_tp

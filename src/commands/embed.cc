#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/json_output.h"
#include "engine/engine.h"
#include "serve/embedding_json.h"

namespace llm_tp {
namespace {

/// Lines of `text`, each a text of its own. Errors: kBadData for an empty one: answers are told apart by
/// their numbers, so none is passed over.
void add_lines(const std::string& text, const std::string& where, std::vector<std::string>& texts) {
  std::istringstream lines(text);
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty())
      throw Error(ExitCode::kBadData,
                  where + ":" + std::to_string(number) + ": is empty, wanted a text to embed in every line");
    texts.push_back(std::move(line));
  }
}

std::vector<std::vector<TokenId>> tokens_to_embed(const CommandLine& line, const ModelFiles& files) {
  if (line.tokens) return {*line.tokens};
  if (!files.tokenizer) throw Error(ExitCode::kUsage, files.name + " has no tokenizer: give --tokens 1,2,3");
  const EmbedConfig& config = line.resolved.config.embed;
  std::vector<std::string> texts = config.text;
  if (!config.text_file.empty()) add_lines(read_text(config.text_file), config.text_file, texts);
  if (config.text.empty() && config.text_file.empty())
    add_lines({std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()}, "standard input",
              texts);
  if (texts.empty())
    throw Error(ExitCode::kUsage, "no text to embed: give --text, --text-file or lines of standard input");
  std::vector<std::vector<TokenId>> all;
  for (const std::string& text : texts) all.push_back(files.tokenizer->encode(text, true));
  return all;
}

void check_tokens(const std::vector<std::vector<TokenId>>& all, std::int64_t context,
                  std::int64_t vocabulary) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string text = "text " + std::to_string(i);
    if (all[i].empty()) throw Error(ExitCode::kUsage, text + " has no tokens; give some text");
    if (static_cast<std::int64_t>(all[i].size()) > context)
      throw Error(ExitCode::kUsage, text + " has " + std::to_string(all[i].size()) + " tokens, the context " +
                                        std::to_string(context) + " (max_context): shorten it");
    for (TokenId id : all[i])
      if (id >= vocabulary)
        throw Error(ExitCode::kUsage, "token id " + std::to_string(id) +
                                          " is outside the vocabulary: wanted 0 to " +
                                          std::to_string(vocabulary - 1));
  }
}

/// Room for the longest ones, max_batch at a time.
LoadPlan room_for(const EngineConfig& config, const std::vector<std::vector<TokenId>>& all) {
  std::vector<std::int64_t> positions;
  for (const auto& tokens : all) {
    const std::int64_t page = config.page_tokens;
    positions.push_back((static_cast<std::int64_t>(tokens.size()) + page - 1) / page * page);
  }
  std::sort(positions.rbegin(), positions.rend());
  LoadPlan load;
  load.sequences = std::min<std::int64_t>(config.max_batch, static_cast<std::int64_t>(all.size()));
  positions.resize(static_cast<std::size_t>(load.sequences));
  for (std::int64_t n : positions) load.kv_tokens += n;
  load.most_rows = std::min<std::int64_t>(config.prefill_chunk, load.kv_tokens);
  return load;
}

struct Embedded {
  std::vector<std::vector<float>> vectors;
  std::int64_t tokens = 0;
};

Embedded embed(Leader& leader, const EmbedConfig& config, std::vector<std::vector<TokenId>> all) {
  Embedded result;
  result.vectors.resize(all.size());
  std::map<RequestId, std::size_t> index;
  for (std::size_t i = 0; i < all.size(); ++i) {
    result.tokens += static_cast<std::int64_t>(all[i].size());
    Request request;
    request.prompt = std::move(all[i]);
    request.max_tokens = 0;
    request.embedding = EmbeddingSettings{
        config.pooling == PoolingChoice::kMean ? Pooling::kMean : Pooling::kLast, config.normalize};
    index[leader.scheduler().add(std::move(request))] = i;
  }
  leader.run([&](const Progress& p) { result.vectors[index.at(p.request)] = p.row.state; });
  return result;
}

}  // namespace

void embed_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  std::vector<std::vector<TokenId>> all;
  const auto prepare = [&](ModelFiles& files) {
    const LoadPlan for_context = LoadPlan::for_many(config, files);
    all = tokens_to_embed(line, files);
    check_tokens(all, for_context.least_kv_tokens, files.shape.vocabulary);
    return room_for(config, all);
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double) {
    const Embedded result = embed(leader, config.embed, std::move(all));
    if (!line.json) {
      for (const std::vector<float>& vector : result.vectors) {
        std::string text;
        for (const Json& number : embedding_list(vector)) text += (text.empty() ? "" : " ") + to_text(number);
        std::puts(text.c_str());
      }
      return;
    }
    Json data = Json::array();
    for (std::size_t i = 0; i < result.vectors.size(); ++i)
      data.push_back({{"index", i}, {"embedding", embedding_list(result.vectors[i])}});
    print_json({{"model", files.name},
                {"ranks", group.world()},
                {"pooling", config.embed.pooling == PoolingChoice::kMean ? "mean" : "last"},
                {"normalized", config.embed.normalize},
                {"dimensions", files.shape.hidden},
                {"embeddings", std::move(data)},
                {"usage", {{"prompt_tokens", result.tokens}}}});
  });
}

}  // namespace llm_tp

#include <cstdio>

#include "commands/commands.h"
#include "commands/json_output.h"
#include "engine/engine.h"

namespace llm_tp {
namespace {

Json range_json(const Range& range) { return Json::array({range.begin, range.end}); }

std::string range_text(const Range& range) {
  return range.empty() ? "-" : std::to_string(range.begin) + ".." + std::to_string(range.end);
}

}  // namespace

void inspect_command(const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  const ModelFiles files = ModelFiles::open(config.model, false);
  const int ranks = line.ranks > 0 ? line.ranks : 1;
  const WeightLoader loader(files.shape, *files.weights, config.dtype);
  const ShardPlan plan =
      ShardPlan::make(files.shape, ranks, loader.units(), config.shares, config.expert_parallel);
  const auto ops = make_sizing_device();
  const std::int64_t context = config.max_context > 0 ? config.max_context : files.shape.context;
  const auto memory = plan_memory(files.shape, loader, plan, *ops, kv_dtype_of(config.kv_dtype),
                                  std::min(config.prefill_chunk, context));
  if (line.json) {
    Json list = Json::array();
    for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
      const RankShare& s = plan.ranks[r];
      list.push_back({{"rank", r},
                      {"query_heads", range_json(s.query_heads)},
                      {"kv_heads", range_json(s.kv_heads)},
                      {"mlp_columns", range_json(s.mlp_columns)},
                      {"experts", range_json(s.experts)},
                      {"expert_columns", range_json(s.expert_columns)},
                      {"shared_expert_columns", range_json(s.shared_columns)},
                      {"vocab_rows", range_json(s.vocab_rows)},
                      {"weight_bytes", memory[r].weights},
                      {"kv_bytes_per_token", memory[r].kv_per_token},
                      {"workspace_bytes", memory[r].workspace}});
    }
    return print_json({{"architecture", files.shape.architecture},
                       {"parameters", files.weights->parameters()},
                       {"file_bytes", files.weights->file_bytes()},
                       {"context", files.shape.context},
                       {"hidden", files.shape.hidden},
                       {"layers", files.shape.layers},
                       {"query_heads", files.shape.query_heads},
                       {"kv_heads", files.shape.kv_heads},
                       {"head_dim", files.shape.head_dim},
                       {"mlp_columns", files.shape.mlp_columns},
                       {"experts", files.shape.experts.count},
                       {"expert_columns", files.shape.experts.columns},
                       {"vocabulary", files.shape.vocabulary},
                       {"ranks", std::move(list)}});
  }
  const ModelShape& s = files.shape;
  std::printf(
      "%s\n  %s, %.2f million parameters, %s in files, context %lld\n  hidden %lld, %lld layers, %lld query "
      "heads, %lld KV heads of %lld, "
      "MLP %lld, vocabulary %lld%s\n\n",
      files.name.c_str(), s.architecture.c_str(), static_cast<double>(files.weights->parameters()) / 1e6,
      memory_text(files.weights->file_bytes()).c_str(), static_cast<long long>(s.context),
      static_cast<long long>(s.hidden), static_cast<long long>(s.layers),
      static_cast<long long>(s.query_heads), static_cast<long long>(s.kv_heads),
      static_cast<long long>(s.head_dim), static_cast<long long>(s.mlp_columns),
      static_cast<long long>(s.vocabulary), s.tied_embeddings ? ", tied head" : "");
  std::printf("%4s  %11s  %8s  %13s  %15s  %10s  %12s  %10s\n", "rank", "query heads", "KV heads",
              "MLP columns", "vocabulary rows", "weights", "KV per token", "workspace");
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    const RankShare& share = plan.ranks[r];
    std::printf("%4zu  %11s  %8s  %13s  %15s  %10s  %12s  %10s%s\n", r, range_text(share.query_heads).c_str(),
                range_text(share.kv_heads).c_str(), range_text(share.mlp_columns).c_str(),
                range_text(share.vocab_rows).c_str(), memory_text(memory[r].weights).c_str(),
                memory_text(memory[r].kv_per_token).c_str(), memory_text(memory[r].workspace).c_str(),
                share.query_heads.empty() || share.mlp_columns.empty()
                    ? "  (idle in a part: more ranks than it has pieces)"
                    : "");
  }
}

}  // namespace llm_tp

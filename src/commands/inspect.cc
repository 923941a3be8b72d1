#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "commands/commands.h"
#include "commands/json_output.h"
#include "engine/engine.h"

namespace llm_tp {
namespace {

Json range_json(const Range& range) { return Json::array({range.begin, range.end}); }

/// Bytes of a token's keys and values on all ranks, for each way to store them.
std::vector<std::pair<std::string_view, std::int64_t>> kv_bytes_per_token(const ModelShape& shape,
                                                                          const ShardPlan& plan,
                                                                          const DeviceBackend& ops) {
  std::vector<std::pair<std::string_view, std::int64_t>> all;
  for (const KvDType choice : {KvDType::kF32, KvDType::kBF16, KvDType::kF16, KvDType::kFp8, KvDType::kInt8}) {
    const DType dtype = kv_dtype_of(choice);
    std::int64_t bytes = 0;
    for (const RankShare& share : plan.ranks) bytes += kv_token_bytes(shape, share, dtype, ops);
    all.emplace_back(name_of(dtype), bytes);
  }
  return all;
}

/// What one sequence of the whole context holds of the cache of a group of layers.
struct HeldByOne {
  KvGroup group;
  std::int64_t positions = 0;
};
std::vector<HeldByOne> held_by_one(const ModelShape& shape, const EngineConfig& config,
                                   std::int64_t context) {
  const std::vector<KvGroup> groups = kv_groups_of(shape);
  const std::vector<CacheLimits> caches = plan_caches(
      shape, context, 1, std::min<std::int64_t>(config.prefill_chunk, context), config.page_tokens);
  std::vector<HeldByOne> all;
  for (std::size_t g = 0; g < groups.size(); ++g)
    all.push_back({groups[g], std::min(context, std::int64_t{caches[g].pages} * config.page_tokens)});
  return all;
}

std::string range_text(const Range& range) {
  return range.empty() ? "-" : std::to_string(range.begin) + ".." + std::to_string(range.end);
}

std::string experts_text(const ExpertShape& experts) {
  if (experts.count == 0) return "";
  std::string text =
      ", " + std::to_string(experts.count) + " experts of " + std::to_string(experts.columns) + " columns";
  if (experts.shared_columns > 0)
    text += " and one of " + std::to_string(experts.shared_columns) + " for all tokens";
  return text;
}

bool is_idle_in_a_part(const ModelShape& shape, const RankShare& share) {
  return share.query_heads.empty() || (shape.any_dense_layer() && share.mlp_columns.empty()) ||
         (shape.experts.count > 0 && (share.experts.empty() || share.expert_columns.empty()));
}

/// A line a rank; with the experts where the model has some.
void print_plan(const ModelShape& shape, const ShardPlan& plan, const std::vector<RankMemory>& memory) {
  const auto line = [&](const std::string& rank, const std::string& heads, const std::string& kv_heads,
                        const std::string& columns, const std::string& experts,
                        const std::string& expert_columns, const std::string& rows,
                        const std::string& weights, const std::string& kv, const std::string& workspace) {
    std::printf("%4s  %11s  %8s  ", rank.c_str(), heads.c_str(), kv_heads.c_str());
    if (shape.any_dense_layer()) std::printf("%13s  ", columns.c_str());
    if (shape.experts.count > 0) std::printf("%9s  %14s  ", experts.c_str(), expert_columns.c_str());
    std::printf("%15s  %10s  %12s  %10s", rows.c_str(), weights.c_str(), kv.c_str(), workspace.c_str());
  };
  line("rank", "query heads", "KV heads", "MLP columns", "experts", "expert columns", "vocabulary rows",
       "weights", "KV per token", "workspace");
  std::printf("\n");
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    const RankShare& share = plan.ranks[r];
    line(std::to_string(r), range_text(share.query_heads), range_text(share.kv_heads),
         range_text(share.mlp_columns), range_text(share.experts), range_text(share.expert_columns),
         range_text(share.vocab_rows), memory_text(memory[r].weights),
         memory_text(memory[r].kv_per_token_of_all()), memory_text(memory[r].workspace));
    std::printf("%s\n",
                is_idle_in_a_part(shape, share) ? "  (idle in a part: more ranks than it has pieces)" : "");
  }
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
  const std::vector<HeldByOne> all_held = held_by_one(files.shape, config, context);
  const auto by_type = kv_bytes_per_token(files.shape, plan, *ops);
  if (line.json) {
    Json of_types = Json::object();
    for (const auto& [type, bytes] : by_type) of_types[std::string(type)] = bytes;
    Json caches = Json::array();
    for (const HeldByOne& held : all_held)
      caches.push_back({{"layers", held.group.layers},
                        {"window", held.group.window},
                        {"most_positions_of_a_sequence", held.positions}});
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
                      {"kv_bytes_per_token", memory[r].kv_per_token_of_all()},
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
                       {"kv_bytes_per_token", std::move(of_types)},
                       {"kv_caches", std::move(caches)},
                       {"ranks", std::move(list)}});
  }
  const ModelShape& s = files.shape;
  std::printf(
      "%s\n  %s, %.2f million parameters, %s in files, context %lld\n  hidden %lld, %lld layers, %lld query "
      "heads, %lld KV heads of %lld, "
      "MLP %lld, vocabulary %lld%s%s\n\n",
      files.name.c_str(), s.architecture.c_str(), static_cast<double>(files.weights->parameters()) / 1e6,
      memory_text(files.weights->file_bytes()).c_str(), static_cast<long long>(s.context),
      static_cast<long long>(s.hidden), static_cast<long long>(s.layers),
      static_cast<long long>(s.query_heads), static_cast<long long>(s.kv_heads),
      static_cast<long long>(s.head_dim), static_cast<long long>(s.mlp_columns),
      static_cast<long long>(s.vocabulary), s.tied_embeddings ? ", tied head" : "",
      experts_text(s.experts).c_str());
  print_plan(s, plan, memory);
  std::printf("\nKV cache per token, all ranks, by kv_dtype:");
  const char* before = " ";
  for (const auto& [type, bytes] : by_type) {
    std::printf("%s%s %s", before, std::string(type).c_str(), memory_text(bytes).c_str());
    before = ", ";
  }
  std::printf("\n");
  for (const HeldByOne& held : all_held)
    if (held.group.window > 0)
      std::printf("%d layers see a window of %lld: a sequence holds at most %lld positions of theirs\n",
                  held.group.layers, static_cast<long long>(held.group.window),
                  static_cast<long long>(held.positions));
}

}  // namespace llm_tp

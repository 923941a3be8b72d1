#include "model_runs.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "comm/local_group.h"
#include "kernels/cpu/cpu_backend.h"
#include "model/decoder.h"
#include "model/weight_loader.h"
#include "weights/gguf.h"
#include "weights/gguf_source.h"
#include "weights/safetensors.h"

namespace llm_tp {
namespace {

/// The page table of every sequence.
std::vector<std::vector<PageId>> page_tables(const std::vector<Tokens>& sequences, const RunSetup& setup,
                                             int& pages) {
  std::vector<std::vector<PageId>> tables(sequences.size());
  std::size_t longest = 0;
  for (const Tokens& tokens : sequences)
    longest = std::max(longest, (tokens.size() - 1) / static_cast<std::size_t>(setup.page_tokens) + 1);
  pages = static_cast<int>(longest * sequences.size());
  for (std::size_t s = 0; s < sequences.size(); ++s)
    for (std::size_t p = 0; p < longest; ++p)
      tables[s].push_back(static_cast<PageId>(setup.scattered_pages ? (longest - 1 - p) * sequences.size() + s
                                                                    : s * longest + p));
  return tables;
}

std::int32_t most_rows(const std::vector<Step>& steps) {
  std::int32_t most = 1;
  for (const Step& step : steps) {
    std::int32_t rows = 0;
    for (const Piece& piece : step) rows += piece.rows;
    most = std::max(most, rows);
  }
  return most;
}

/// One rank's part in a run.
class RankRun {
 public:
  RankRun(const Checkpoint& checkpoint, const RunSetup& setup, Communicator& ranks, std::int32_t rows,
          int pages)
      : vocabulary_(checkpoint.shape.vocabulary), ops_(options(setup)) {
    const WeightLoader loader(checkpoint.shape, *checkpoint.weights, setup.weight_dtype);
    const ShardPlan plan =
        ShardPlan::make(checkpoint.shape, setup.world, loader.units(), setup.shares, setup.whole_experts);
    const RankShare& share = plan.ranks[static_cast<std::size_t>(ranks.rank())];
    model_.emplace(checkpoint.shape, plan, ranks.rank(),
                   loader.load(plan, ranks.rank(), ops_, [](std::int64_t, std::int64_t) {}), ops_, ranks,
                   rows);
    for (const KvGroup& group : kv_groups_of(checkpoint.shape)) {
      windows_.push_back(group.window);
      caches_.push_back(ops_.make_kv_cache({group.layers, static_cast<int>(share.kv_heads.size()),
                                            static_cast<int>(checkpoint.shape.head_dim), pages,
                                            setup.page_tokens, setup.kv_dtype}));
    }
    page_tokens_ = setup.page_tokens;
  }

  /// Runs the step and writes this rank's columns of its logits.
  void step(const Step& step, const std::vector<Tokens>& sequences,
            const std::vector<std::vector<PageId>>& tables, std::vector<std::int32_t>& done,
            std::vector<Logits>& logits) {
    Tokens tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::vector<BatchSlice>> slices(caches_.size());
    std::vector<float*> outputs;
    for (const Piece& piece : step) {
      for (std::size_t g = 0; g < caches_.size(); ++g) {
        // Only what its layers see, as the scheduler has it.
        const std::int64_t first =
            windows_[g] > 0 ? std::max<std::int64_t>(0, done[piece.sequence] + 1 - windows_[g]) : 0;
        const auto before = static_cast<std::size_t>(first / page_tokens_);
        slices[g].push_back({static_cast<std::int32_t>(tokens.size()), piece.rows, done[piece.sequence],
                             std::span(tables[piece.sequence]).subspan(before),
                             static_cast<std::int32_t>(sequences[piece.sequence].size()),
                             static_cast<std::int32_t>(before)});
      }
      for (std::int32_t i = 0; i < piece.rows; ++i) {
        const std::int32_t position = done[piece.sequence]++;
        tokens.push_back(sequences[piece.sequence].at(static_cast<std::size_t>(position)));
        positions.push_back(position);
        outputs.push_back(logits[piece.sequence].data() + position * vocabulary_);
      }
    }
    std::vector<KvStep> kv;
    for (std::size_t g = 0; g < caches_.size(); ++g)
      kv.push_back({caches_[g].get(), {tokens, positions, slices[g]}});
    model_->forward(kv);
    for (std::size_t first = 0; first < tokens.size(); first += Decoder::kScoredRows) {
      std::vector<std::int32_t> rows;
      while (rows.size() < Decoder::kScoredRows && first + rows.size() < tokens.size())
        rows.push_back(static_cast<std::int32_t>(first + rows.size()));
      const TensorView scored = model_->logits(rows);
      for (std::size_t i = 0; i < rows.size(); ++i)
        std::copy_n(scored.row(static_cast<std::int64_t>(i)), scored.columns(),
                    outputs[first + i] + model_->share().vocab_rows.begin);
    }
  }

 private:
  static CpuOptions options(const RunSetup& setup) {
    CpuOptions options;
    options.threads = setup.threads;
    options.activations = setup.activations;
    options.oversubscribed =
        setup.world * setup.threads > static_cast<int>(std::thread::hardware_concurrency());
    return options;
  }

  std::int64_t vocabulary_;
  CpuBackend ops_;
  std::vector<std::unique_ptr<KvCache>> caches_;  // of each group of layers
  std::vector<std::int64_t> windows_;
  int page_tokens_ = 0;
  std::optional<Decoder> model_;
};

}  // namespace

Checkpoint Checkpoint::open(const std::string& path) {
  Checkpoint checkpoint;
  if (std::filesystem::is_directory(path)) {
    checkpoint.shape = ModelShape::from_config(path + "/config.json");
    checkpoint.weights = std::make_unique<SafetensorsSource>(path, checkpoint.shape.style.names);
  } else {
    const auto file = GgufFile::open(path);
    checkpoint.shape = ModelShape::from_gguf(*file);
    checkpoint.weights = std::make_unique<GgufSource>(file, checkpoint.shape.interleaved_heads);
  }
  return checkpoint;
}

std::vector<Step> in_chunks(const std::vector<Tokens>& sequences, std::int32_t rows) {
  std::vector<Step> steps;
  for (std::size_t s = 0; s < sequences.size(); ++s)
    for (auto left = static_cast<std::int32_t>(sequences[s].size()); left > 0; left -= rows)
      steps.push_back({{s, std::min(left, rows)}});
  return steps;
}

std::vector<Logits> run_steps(const Checkpoint& checkpoint, const RunSetup& setup,
                              const std::vector<Tokens>& sequences, const std::vector<Step>& steps) {
  std::vector<Logits> logits;
  for (const Tokens& tokens : sequences)
    logits.emplace_back(tokens.size() * static_cast<std::size_t>(checkpoint.shape.vocabulary));
  int pages = 0;
  const auto tables = page_tables(sequences, setup, pages);
  LocalGroup(setup.world).run([&](Communicator& ranks, ControlChannel&) {
    RankRun run(checkpoint, setup, ranks, most_rows(steps), pages);
    std::vector<std::int32_t> done(sequences.size());
    for (const Step& step : steps) run.step(step, sequences, tables, done, logits);
  });
  return logits;
}

Logits run_alone(const Checkpoint& checkpoint, const RunSetup& setup, const Tokens& tokens,
                 std::int32_t chunk) {
  return run_steps(checkpoint, setup, {tokens}, in_chunks({tokens}, chunk)).front();
}

Tokens some_tokens(std::int64_t count, std::int64_t vocabulary, std::int64_t salt) {
  Tokens tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>((i * i * 31 + i * 7919 + salt * 104729 + 11) % vocabulary));
  return tokens;
}

}  // namespace llm_tp

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/log.h"
#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/json_output.h"

namespace llm_tp {
namespace {

constexpr const char* kLeftOut = "left out: the times are of this rank alone, and no tokens are right";
constexpr std::int64_t kDecodeContext = 32;  // tokens before the decoded ones

struct Spread {
  double min = 0, median = 0, max = 0;
  explicit Spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    min = values.front(), median = values[values.size() / 2], max = values.back();
  }
  Json json() const { return {{"min", min}, {"median", median}, {"max", max}}; }
};

Json json_of(const std::vector<RankTime>& times) {
  Json ranks = Json::array();
  for (const RankTime& t : times)
    ranks.push_back({{"step_seconds", t.step}, {"sum_seconds", t.sums}, {"waiting_seconds", t.waiting}});
  return ranks;
}

std::vector<TokenId> some_tokens(std::int64_t count, std::int64_t vocabulary, std::int64_t salt) {
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>((i * 7919 + salt * 104729 + 11) % vocabulary));
  return tokens;
}

/// Runs `batch` sequences of a prompt and new tokens; returns what the steps took.
Leader::StepTimes timed(Leader& leader, std::int64_t vocabulary, std::int64_t batch, std::int64_t prompt,
                        std::int64_t made) {
  const Leader::StepTimes before = leader.times();
  for (std::int64_t b = 0; b < batch; ++b) {
    Request request;
    request.prompt = some_tokens(prompt, vocabulary, b);
    request.max_tokens = static_cast<std::int32_t>(made);
    leader.scheduler().add(std::move(request));
  }
  leader.run([](const Progress&) {});
  const Leader::StepTimes& after = leader.times();
  return {after.prefill_seconds - before.prefill_seconds, after.decode_seconds - before.decode_seconds,
          after.prefill_tokens - before.prefill_tokens, after.decode_tokens - before.decode_tokens};
}

}  // namespace

void bench_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  const BenchConfig& bench = config.bench;
  std::int64_t vocabulary = 0;
  const auto prepare = [&](ModelFiles& files) {
    vocabulary = files.shape.vocabulary;
    const std::int64_t longest = std::max(bench.prompt_tokens + 1, kDecodeContext + bench.decode_tokens + 1);
    const std::int64_t context = config.max_context > 0 ? config.max_context : files.shape.context;
    if (longest > context)
      throw Error(ExitCode::kUsage, "bench needs " + std::to_string(longest) +
                                        " positions, the context has " + std::to_string(context) +
                                        ": lower --prompt-tokens or --decode-tokens");
    return LoadPlan{bench.batch * longest,
                    std::max(bench.batch, std::min(config.prefill_chunk, bench.batch * bench.prompt_tokens)),
                    bench.batch};
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double load_seconds) {
    timed(leader, vocabulary, bench.batch, std::min<std::int64_t>(bench.prompt_tokens, 64), 4);  // warm-up
    const double calls_before = leader.report()[0].call_seconds;
    const std::vector<RankTime> times_before = leader.rank_times().totals();
    std::vector<double> prefill, decode;
    double seconds = 0;
    for (std::int64_t r = 0; r < bench.repetitions; ++r) {
      log(LogLevel::kDebug,
          "repetition " + std::to_string(r + 1) + " of " + std::to_string(bench.repetitions));
      const auto p = timed(leader, vocabulary, bench.batch, bench.prompt_tokens, 1);
      const auto d = timed(leader, vocabulary, bench.batch, kDecodeContext, bench.decode_tokens + 1);
      prefill.push_back(static_cast<double>(p.prefill_tokens) / p.prefill_seconds);
      decode.push_back(static_cast<double>(d.decode_tokens) / d.decode_seconds);
      seconds += p.prefill_seconds + d.prefill_seconds + d.decode_seconds;
    }
    const std::vector<RankReport> ranks = leader.report();
    std::int64_t peak = 0, held = 0;
    Json peaks = Json::array();
    for (const RankReport& r : ranks)
      peak += r.peak_memory, held += r.weights_and_kv, peaks.push_back(r.peak_memory);
    const Spread p(prefill), d(decode);
    const double share = (ranks[0].call_seconds - calls_before) / seconds;
    std::vector<RankTime> times = leader.rank_times().totals();
    for (std::size_t r = 0; r < times.size(); ++r) times[r] = times[r] - times_before[r];
    const int threads = ModelChoices::of(config, group).threads;
    if (line.json) {
      Json result = {{"model", files.name},
                     {"prefill_tokens_per_second", p.median},
                     {"decode_tokens_per_second", d.median},
                     {"prefill", p.json()},
                     {"decode", d.json()},
                     {"ranks", group.world()},
                     {"threads", threads},
                     {"device", leader.device()},
                     {"batch", bench.batch},
                     {"sum_share", share},
                     {"rank_times", json_of(times)},
                     {"load_seconds", load_seconds},
                     {"weights_and_kv_bytes", held},
                     {"peak_memory_bytes", peaks}};
      if (group.only_share) {
        result["only_rank"] = *group.only_share;
        result["sums"] = kLeftOut;
      }
      return print_json(result);
    }
    if (group.only_share)
      std::printf("rank %d of %d alone; sums: %s\n", *group.only_share, group.world(), kLeftOut);
    std::printf("%s, %d ranks of %s, batch %lld\n", files.name.c_str(), group.world(),
                leader.device().c_str(), static_cast<long long>(bench.batch));
    std::printf("prefill %4lld  %9.1f tokens/s  (%.1f to %.1f)\n",
                static_cast<long long>(bench.prompt_tokens), p.median, p.min, p.max);
    std::printf("decode  %4lld  %9.1f tokens/s  (%.1f to %.1f)\n",
                static_cast<long long>(bench.decode_tokens), d.median, d.min, d.max);
    std::printf("share of time in sums over ranks %.1f%%, loaded in %.2f s\n", 100 * share, load_seconds);
    for (std::size_t r = 0; r < times.size() && times.size() > 1; ++r)
      std::printf("rank %-4zu  in sums %4.1f%%, waiting for other ranks %4.1f%%\n", r,
                  100 * times[r].sums / times[r].step, 100 * times[r].waiting / times[r].step);
    std::printf("memory of all ranks: weights and KV cache %s, peak %s\n", memory_text(held).c_str(),
                memory_text(peak).c_str());
  });
}

}  // namespace llm_tp

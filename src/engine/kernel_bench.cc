#include "engine/kernel_bench.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <tuple>

#include "base/error.h"
#include "engine/part_reader.h"
#include "weights/block_formats.h"

namespace llm_tp {
namespace {

using Clock = std::chrono::steady_clock;
using Call = std::function<void(std::int64_t turn)>;

constexpr double kShortestRun = 0.01;  // seconds: far above the clock's steps and a launch
constexpr std::int64_t kMostCopies = 64;
constexpr int kPageTokens = 16;

/// Twice what the last-level cache holds: of this host's processors, and of any GPU so far.
std::int64_t bytes_beyond_caches() {
  const std::int64_t host = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp<std::int64_t>(2 * host, std::int64_t{256} << 20, std::int64_t{1} << 30);
}

std::vector<float> random_numbers(std::int64_t count) {
  std::mt19937 bits(1);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& x : out) x = static_cast<float>(bits() >> 8) / static_cast<float>(1 << 23) - 1.0f;
  return out;
}

std::string text_of(std::int64_t tokens, std::int64_t in, std::int64_t out) {
  return std::to_string(tokens) + " x " + std::to_string(in) + " -> " + std::to_string(out);
}

class KernelBench {
 public:
  KernelBench(DeviceBackend& ops, const ModelShape& shape, int world, const KernelBenchOptions& options)
      : ops_(ops), shape_(shape), options_(options), turn_bytes_(bytes_beyond_caches()) {
    const std::int64_t block = block_elements(options.weight_dtype);
    const ShardUnits units{block, block, block, block};
    plan_ = ShardPlan::make(shape, world, units);
    pool_ = ops.allocate(static_cast<std::size_t>(turn_bytes_));
    const std::vector<float> numbers = random_numbers(std::int64_t{1} << 20);
    const auto bytes = std::as_bytes(std::span(numbers));
    for (std::size_t at = 0; at < pool_.bytes(); at += bytes.size())
      ops.upload(pool_.data() + at, bytes.first(std::min(bytes.size(), pool_.bytes() - at)));
  }

  KernelTimes run() {
    KernelTimes times;
    times.bytes_in_turn = turn_bytes_;
    time_copy();
    times.copy = times_.back();
    times_.clear();
    const std::int64_t all = options_.tokens;
    for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{16}, all}) time_products(tokens);
    for (const KernelTime& product : times_)
      times.best_product_rate = std::max(times.best_product_rate, product.flop_per_second());
    for (const std::int64_t tokens : {std::int64_t{1}, all}) {
      time_attention(tokens);
      time_small(tokens);
    }
    for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{64}}) time_scores(rows);
    times.kernels = std::move(times_);
    return times;
  }

 private:
  const RankShare& share() const { return plan_.ranks[0]; }
  std::int64_t query_width() const { return share().query_heads.size() * shape_.head_dim; }
  std::int64_t kv_width() const { return share().kv_heads.size() * shape_.head_dim; }

  /// Activations [rows, columns], other ones than the last time: random numbers that no call writes to, or
  /// where its results go. What one call made is never another's input: numbers would grow from call to call.
  TensorView input(std::int64_t rows, std::int64_t columns) { return next(inputs_, 0, rows, columns); }
  TensorView output(std::int64_t rows, std::int64_t columns) {
    return next(outputs_, half_floats(), rows, columns);
  }
  std::int64_t half_floats() const { return static_cast<std::int64_t>(pool_.bytes() / sizeof(float)) / 2; }
  TensorView next(std::int64_t& used, std::int64_t begin, std::int64_t rows, std::int64_t columns) const {
    const std::int64_t count = rows * columns;
    if (count > half_floats())
      throw Error(ExitCode::kUsage, "bench kernels: " + std::to_string(rows) + " tokens of " +
                                        std::to_string(columns) + " columns are more than its " +
                                        std::to_string(pool_.bytes() >> 21) + " MiB: lower --prompt-tokens");
    if (used + count > half_floats()) used = 0;
    const TensorView view = TensorView::matrix(pool_.floats() + begin + used, rows, columns);
    used += (count + 63) / 64 * 64;
    return view;
  }
  static TensorView row_of(TensorView matrix) {
    return TensorView::vector(reinterpret_cast<float*>(matrix.data), matrix.columns());
  }

  void time(const std::string& op, const std::string& text, std::int64_t bytes, double flop,
            const Call& call) {
    std::int64_t turn = 0;
    const auto run = [&](std::int64_t calls) {
      ops_.synchronize();
      const auto begin = Clock::now();
      for (std::int64_t i = 0; i < calls; ++i) call(turn++);
      ops_.synchronize();
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    run(1);  // warm-up
    std::int64_t calls = 1;
    while (run(calls) < kShortestRun) calls *= 2;
    std::vector<double> seconds;
    for (std::int64_t r = 0; r < options_.repetitions; ++r)
      seconds.push_back(run(calls) / static_cast<double>(calls));
    std::sort(seconds.begin(), seconds.end());
    times_.push_back({op, text, bytes, flop, seconds[seconds.size() / 2]});
  }
  /// So many of a thing of these bytes that calls in turn find none in a cache.
  std::int64_t copies_of(std::int64_t bytes) const {
    return std::clamp<std::int64_t>((turn_bytes_ + bytes - 1) / std::max<std::int64_t>(bytes, 1), 1,
                                    kMostCopies);
  }

  void time_copy() {
    const std::int64_t bytes = turn_bytes_ / 2;
    time("copy", std::to_string(bytes >> 20) + " MiB", 2 * bytes, 0, [&](std::int64_t) {
      ops_.copy(pool_.data() + bytes, {pool_.data(), static_cast<std::size_t>(bytes)});
    });
  }

  std::unique_ptr<PackedWeight> random_weight(std::int64_t rows, LeafCut cut, Range leaves) {
    const WeightSpec spec{options_.weight_dtype, rows, cut, leaves};
    const std::int64_t columns = spec.columns();
    if (columns % block_elements(spec.dtype) != 0)
      throw Error(ExitCode::kUsage, "bench kernels: rows of " + std::to_string(columns) +
                                        " numbers are no whole blocks of " +
                                        std::string(name_of(spec.dtype)) + ": choose another --dtype");
    constexpr std::int64_t kRows = 16;  // that come again and again
    const auto bytes = static_cast<std::size_t>(row_bytes(spec.dtype, columns));
    std::vector<std::byte> encoded(kRows * bytes);
    const std::vector<float> numbers = random_numbers(kRows * columns);
    for (std::size_t r = 0; r < kRows; ++r)
      encode_row(spec.dtype, numbers.data() + static_cast<std::int64_t>(r) * columns,
                 encoded.data() + r * bytes, columns);
    return ops_.pack(spec, [&](Range wanted, std::byte* out) {
      for (std::int64_t r = wanted.begin; r < wanted.end; ++r, out += bytes)
        std::memcpy(out, encoded.data() + static_cast<std::size_t>(r % kRows) * bytes, bytes);
    });
  }

  void time_product(const std::string& op, std::int64_t tokens, std::int64_t rows, LeafCut cut,
                    Range leaves) {
    const WeightSpec spec{options_.weight_dtype, rows, cut, leaves};
    if (rows == 0 || spec.columns() == 0) return;
    const std::int64_t bytes = ops_.packed_bytes(spec);
    std::vector<std::unique_ptr<PackedWeight>> weights;
    for (std::int64_t c = copies_of(bytes); c > 0; --c) weights.push_back(random_weight(rows, cut, leaves));
    const std::int64_t columns = spec.columns(), roots = std::ssize(weights[0]->roots());
    time(op, text_of(tokens, columns, rows), bytes + tokens * (columns + roots * rows) * 4,
         2.0 * static_cast<double>(tokens) * static_cast<double>(columns) * static_cast<double>(rows),
         [&](std::int64_t turn) {
           const PackedWeight& w = *weights[static_cast<std::size_t>(turn % std::ssize(weights))];
           const TensorView x = input(tokens, columns), out = output(roots * tokens, rows);
           const TensorView planes{out.data, DType::kF32, 3, {roots, tokens, rows, 0}, rows};
           ops_.linear_roots(planes, x, w);
         });
  }

  void time_products(std::int64_t tokens) {
    const LeafCut whole = LeafCut::whole(shape_.hidden, block_elements(options_.weight_dtype));
    const Range leaves{0, whole.leaves};
    time_product("q, k, v", tokens, query_width() + 2 * kv_width(), whole, leaves);
    time_product("attention output", tokens, shape_.hidden, plan_.output_cut, share().output_leaves);
    time_product("gate, up", tokens, 2 * share().mlp_columns.size(), whole, leaves);
    if (shape_.mlp_columns > 0)
      time_product("down", tokens, shape_.hidden, plan_.down_cut, share().down_leaves);
    if (tokens <= 16) time_product("LM head", tokens, share().vocab_rows.size(), whole, leaves);
  }

  /// The last `tokens` of a context of options.tokens.
  void time_attention(std::int64_t tokens) {
    if (share().query_heads.empty()) return;
    const std::int64_t context = options_.tokens, kv_heads = share().kv_heads.size();
    const auto pages_of_one = static_cast<int>((context + kPageTokens - 1) / kPageTokens);
    const KvShape one{
        1,           static_cast<int>(kv_heads), static_cast<int>(shape_.head_dim), pages_of_one,
        kPageTokens, options_.kv_dtype};
    const std::int64_t kv_bytes = ops_.kv_bytes(one);
    const auto copies = static_cast<int>(copies_of(kv_bytes));
    KvShape all = one;
    all.pages = copies * pages_of_one;
    const auto cache = ops_.make_kv_cache(all);
    std::vector<PageId> pages(static_cast<std::size_t>(all.pages));
    for (int p = 0; p < all.pages; ++p) pages[static_cast<std::size_t>(p)] = p;
    const std::vector<TokenId> ids(static_cast<std::size_t>(context));
    const auto slice_of = [&](std::int64_t copy, std::int64_t rows) {
      const auto first = static_cast<std::size_t>(copy % copies * pages_of_one);
      return BatchSlice{0, static_cast<std::int32_t>(rows), static_cast<std::int32_t>(context - rows),
                        std::span(pages).subspan(first, static_cast<std::size_t>(pages_of_one))};
    };
    for (int c = 0; c < copies; ++c) {
      const BatchSlice slice = slice_of(c, context);
      ops_.write_kv(*cache, 0, input(context, kv_width()), input(context, kv_width()),
                    {ids, {}, {&slice, 1}});
    }
    const HeadMap heads{share().query_heads, share().kv_heads, static_cast<int>(shape_.group()),
                        static_cast<int>(shape_.head_dim)};
    const AttentionOptions options{1.0f / std::sqrt(static_cast<float>(shape_.head_dim)), 0, 0};
    const auto rows = static_cast<double>(tokens);
    const double seen = rows * static_cast<double>(context) - rows * (rows - 1) / 2;
    time("attention", std::to_string(tokens) + " of " + std::to_string(context) + " tokens",
         kv_bytes + 2 * tokens * query_width() * 4, 4 * seen * static_cast<double>(query_width()),
         [&](std::int64_t turn) {
           const BatchSlice slice = slice_of(turn, tokens);
           ops_.attend(output(tokens, query_width()), input(tokens, query_width()), *cache, 0,
                       {std::span(ids).first(static_cast<std::size_t>(tokens)), {}, {&slice, 1}}, heads,
                       options);
         });
    time("write keys, values", std::to_string(tokens) + " tokens",
         tokens * 2 * (kv_width() * 4 + kv_bytes / (2 * pages_of_one * kPageTokens)), 0,
         [&](std::int64_t turn) {
           const BatchSlice slice = slice_of(turn, tokens);
           ops_.write_kv(*cache, 0, input(tokens, kv_width()), input(tokens, kv_width()),
                         {std::span(ids).first(static_cast<std::size_t>(tokens)), {}, {&slice, 1}});
         });
  }

  void time_small(std::int64_t tokens) {
    const std::int64_t hidden = shape_.hidden, columns = share().mlp_columns.size();
    const std::string text = std::to_string(tokens) + " x ";
    const TensorView weight = row_of(input(1, hidden));
    time("RMSNorm", text + std::to_string(hidden), (2 * tokens + 1) * hidden * 4, 0,
         [&](std::int64_t) { ops_.rms_norm(output(tokens, hidden), input(tokens, hidden), weight, 1e-5f); });
    time("add", text + std::to_string(hidden), 3 * tokens * hidden * 4, 0,
         [&](std::int64_t) { ops_.add(output(tokens, hidden), input(tokens, hidden), {}, 1.0f); });
    if (query_width() > 0) {
      // Rotations: by random numbers in place of sines and cosines vectors would shrink or grow.
      std::vector<float> angles(static_cast<std::size_t>(tokens * shape_.head_dim), 0.8f);
      for (std::size_t i = 0; i < angles.size(); ++i)
        if (static_cast<std::int64_t>(i) % shape_.head_dim < shape_.head_dim / 2) angles[i] = 0.6f;
      const DeviceBuffer table = ops_.allocate(angles.size() * sizeof(float));
      ops_.upload(table.data(), std::as_bytes(std::span(angles)));
      const TensorView cos_sin = TensorView::matrix(table.floats(), tokens, shape_.head_dim);
      time("RoPE", text + std::to_string(query_width()), tokens * (2 * query_width() + shape_.head_dim) * 4,
           0, [&](std::int64_t) {
             ops_.rope(output(tokens, query_width()), cos_sin, static_cast<int>(shape_.head_dim));
           });
    }
    if (columns > 0)
      time("SiLU, multiply", text + std::to_string(columns), 3 * tokens * columns * 4, 0,
           [&](std::int64_t) { ops_.silu_mul(output(tokens, columns), input(tokens, 2 * columns)); });
  }

  /// What a step finds in its rows of logits, a request each: greedily, in a draw of all tokens, and for the
  /// first round of top-p.
  void time_scores(std::int64_t rows) {
    const std::int64_t columns = share().vocab_rows.size();
    if (columns == 0) return;
    PartReader reader(ops_, share().vocab_rows, shape_.vocabulary);
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(rows));
    std::iota(numbers.begin(), numbers.end(), 0);
    const std::vector<std::uint32_t> open(numbers.begin(), numbers.end());
    const std::vector<double> normaliser(numbers.size());
    for (const auto& [what, temperature, top_p] :
         {std::tuple{"greedy", 0.0f, 1.0f}, std::tuple{"a draw", 1.0f, 1.0f},
          std::tuple{"top-p", 1.0f, 0.9f}}) {
      ScoreList list;
      for (const std::int32_t row : numbers) {
        RowRequest& request = list.rows.emplace_back();
        request.row = row;
        request.sampling.temperature = temperature;
        request.sampling.top_p = top_p;
      }
      time(std::string("scores, ") + what, std::to_string(rows) + " x " + std::to_string(columns),
           rows * columns * 4, 0, [&](std::int64_t) {
             reader.read(list, list.rows, open, normaliser, 0, {input(rows, columns), numbers});
           });
    }
  }

  DeviceBackend& ops_;
  const ModelShape& shape_;
  const KernelBenchOptions options_;
  const std::int64_t turn_bytes_;
  ShardPlan plan_;
  DeviceBuffer pool_;
  std::int64_t inputs_ = 0, outputs_ = 0;  // floats of each half of the pool in this turn
  std::vector<KernelTime> times_;
};

}  // namespace

KernelTimes time_kernels(DeviceBackend& ops, const ModelShape& shape, int world,
                         const KernelBenchOptions& options) {
  return KernelBench(ops, shape, world, options).run();
}

}  // namespace llm_tp

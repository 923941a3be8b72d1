#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/sum_tree.h"
#include "base/tensor.h"
#include "kernels/activation.h"
#include "kernels/memory_use.h"

namespace llm_tp {

class ScoreReader;
// Of mixtures of experts: kernels/experts.h, kernels/routing.h.
struct Expert;
struct ExpertRoom;
struct ModelNeeds;  // kernels/model_needs.h
struct RouterRule;
struct RoutingTables;
class ExpertStack;
class Routing;

/// Memory of a device, zeroed, 64-byte aligned. Freed with the handle.
class DeviceBuffer {
 public:
  using Free = std::function<void(std::byte*)>;
  DeviceBuffer() = default;
  DeviceBuffer(std::byte* data, std::size_t bytes, Free free) : data_(data, std::move(free)), bytes_(bytes) {}
  std::byte* data() const noexcept { return data_.get(); }
  float* floats() const noexcept { return reinterpret_cast<float*>(data_.get()); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::unique_ptr<std::byte, Free> data_{nullptr, [](std::byte*) {}};
  std::size_t bytes_ = 0;
};

/// For weights whose columns have scales of their own (has_column_scales): which of this rank's columns share
/// one.
struct ColumnGroupsOfRank {
  std::vector<std::uint16_t> of_column;  // [columns()]
  int count = 0;
};

/// The part of a weight matrix W [N, K] that one rank holds, in the layout its device computes with.
struct WeightSpec {
  DType dtype = DType::kF32;  // stays so in memory
  std::int64_t rows = 0;      // N of this rank, any number >= 0
  LeafCut cut;                // of the whole layer's K
  Range leaves;               // the run of leaves this rank holds; its K is cut.columns_of(leaves)
  std::shared_ptr<const ColumnGroupsOfRank> column_groups = nullptr;
  /// Row i < rows / 2 is the gate of row rows / 2 + i, as linear_gated() takes them: a device may keep the
  /// two together.
  bool gated = false;
  std::int64_t columns() const noexcept { return cut.columns_of(leaves).size(); }
};
/// The two lie in memory alike and differ in their numbers alone.
inline bool are_alike(const WeightSpec& a, const WeightSpec& b) {
  return a.dtype == b.dtype && a.rows == b.rows && a.cut == b.cut && a.leaves == b.leaves &&
         a.gated == b.gated;
}

/// Writes rows [rows.begin, rows.end) of this rank's part to `out`, packed one after the other in the file
/// layout of spec.dtype (row_bytes(dtype, columns) each). Called from several threads at once, for disjoint
/// ranges.
using RowReader = std::function<void(Range rows, std::byte* out)>;

class PackedWeight {
 public:
  explicit PackedWeight(WeightSpec spec) : spec_(spec), roots_(roots_of(spec.leaves)) {}
  virtual ~PackedWeight() = default;
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;
  const WeightSpec& spec() const noexcept { return spec_; }
  const std::vector<TreeRoot>& roots() const noexcept { return roots_; }

 private:
  WeightSpec spec_;
  std::vector<TreeRoot> roots_;
};

/// A rank's KV cache of all layers, cut into pages of `page_tokens` positions.
struct KvShape {
  int layers = 0;
  int kv_heads = 0;  // of this rank, may be 0
  int head_dim = 0;
  int pages = 0;
  int page_tokens = 16;       // a multiple of 16
  DType dtype = DType::kF32;  // kF32, kF16, kBF16; kInt8, kE4M3: with a scale a vector (vector_codes.h)
};

class KvCache {
 public:
  explicit KvCache(KvShape shape) : shape_(shape) {}
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  const KvShape& shape() const noexcept { return shape_; }

 private:
  KvShape shape_;
};

/// Neighbouring rows of a step that belong to one sequence: row first_row + i is position first_position + i.
struct BatchSlice {
  std::int32_t first_row = 0, rows = 0;
  std::int32_t first_position = 0;
  // pages[i] holds positions [p * page_tokens, (p + 1) * page_tokens), p = pages_before + i.
  std::span<const PageId> pages;
  std::int32_t prompt_tokens = 0;  // of the sequence, for rotary embeddings that depend on its length
  std::int32_t pages_before = 0;   // that were given back: no row sees them

  PageId page_of(std::int64_t position, std::int64_t page_tokens) const {
    return pages[static_cast<std::size_t>(position / page_tokens - pages_before)];
  }
};

/// The rows of one step, in host memory; it outlives the step.
struct Batch {
  std::span<const TokenId> tokens;          // [T]
  std::span<const std::int32_t> positions;  // [T]
  std::span<const BatchSlice> slices;       // cover all rows in order
  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(tokens.size()); }
};

/// Which heads a rank holds. Query head h reads the KV head of its group, h / (query heads / KV heads).
struct HeadMap {
  Range query_heads;  // of this rank, global numbering
  Range kv_heads;     // derived: those its query heads read
  int group = 1;      // query heads a KV head, globally
  int head_dim = 0;
};

struct AttentionOptions {
  float scale = 1.0f;       // of q . k
  std::int64_t window = 0;  // > 0: position p sees (p - window, p]; 0: all of [0, p]
  float soft_cap = 0.0f;    // > 0: a score s becomes soft_cap * tanh(s / soft_cap), after the scale
};

/// What is done to the heads of a step between their products and attention.
struct HeadSteps {
  TensorView query_norm = {}, key_norm = {};  // [head_dim]; empty: no norm
  float norm_epsilon = 0.0f;
  TensorView cos_sin = {};  // [T, rotary], as rope() has it; empty: no rotation
};

/// What becomes of a residual h [T,H] to which x [T,H] is added: h = h + (x + bias) * factor, one rounding
/// each, and out [T,H] = its RMSNorm. out must not alias h.
struct ResidualNorm {
  TensorView out, h;
  TensorView bias = {};  // [H], or empty
  float factor = 1.0f;
  TensorView weight;  // [H]
  float epsilon = 0.0f;
};

/// The rows of a run of ops in one cache, which its write_kv() and attend() will be given.
struct CacheBatch {
  KvCache* cache = nullptr;
  Batch batch;
  HeadMap heads;
  std::int64_t window = 0;  // AttentionOptions::window, or 0 where it is beyond all positions
};

/// The largest steps there will be.
struct StepLimits {
  std::int64_t rows = 0, slices = 0;  // of a step
  std::int64_t positions = 0;         // of a sequence
  std::int64_t listed_rows = 0;       // numbers of rows that gather_rows() and add_rows() get
  std::int64_t host_bytes = 0;        // that on_host() is asked for at a time
  std::int64_t vocabulary_rows = 0;   // of this rank, whose scores are read; run: of ScoreReader::read()
  std::int64_t vocabulary_run = 0;
};

/// How products with quantised weights treat the activations: rounded to 8 bits a block of 32, or exact.
enum class ActivationKind { kInt8, kF32 };

/// The ops of one rank's device. One queue: calls run in call order; on a device with its own queue they
/// return once queued and synchronize() waits. One thread calls. Activations are f32. T may be 0; N or K of a
/// rank may be 0. Every op has one arithmetic (docs/numerics.md): a row's result depends on that row's inputs
/// alone, to the bit, never on T, threads, tile or instruction set.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  /// "cpu avx2, 2 threads": instruction set and threads, for logs.
  virtual std::string description() const = 0;
  virtual DeviceBuffer allocate(std::size_t bytes) = 0;
  /// Bytes that this device's own memory still has; empty where its memory is the host's.
  virtual std::optional<std::int64_t> free_bytes() const { return std::nullopt; }
  /// What was taken since this backend began and not given back, by the backend and by what works on its
  /// queue. Of a device whose memory is the host's: nothing.
  virtual MemoryUse memory_in_use() const { return {}; }
  virtual void synchronize() {}

  /// Copies host bytes into memory of this device, in queue order; `from` may be reused at once.
  virtual void upload(std::byte* to, std::span<const std::byte> from);
  /// `tensor` where the host may read and write it, all queued work done: itself where this device's memory
  /// is the host's, else a contiguous copy that lasts until the next call.
  virtual TensorView on_host(TensorView tensor);
  /// Copies bytes inside this device's memory, in queue order; the two do not overlap.
  virtual void copy(std::byte* to, std::span<const std::byte> from);
  /// out [S,H] = the rows of x [T,H] with these numbers, in this order. out must not alias x.
  virtual void gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows);
  /// Threads of this rank that share work of the host.
  virtual int host_threads() const noexcept { return 1; }
  /// Calls body(chunk, thread), thread < host_threads(), once for every chunk of [0, chunks), several at
  /// once. Returns when all are done; the first exception reaches the caller.
  virtual void run_on_host(int chunks, const std::function<void(int chunk, int thread)>& body);

  /// Bytes that pack() will take for spec.
  virtual std::int64_t packed_bytes(const WeightSpec& spec) const = 0;
  /// Reads all rows and packs them, on all threads. Any dtype but i32.
  virtual std::unique_ptr<PackedWeight> pack(const WeightSpec& spec, const RowReader& read) = 0;
  virtual std::int64_t kv_bytes(const KvShape& shape) const = 0;
  virtual std::unique_ptr<KvCache> make_kv_cache(const KvShape& shape) = 0;

  /// out [T,H] f32: row t is row tokens[t] - rows.begin of `table` (rows.size() x H) widened to f32 plus
  /// +0.0f, or zeros where the token is not in `rows`.
  virtual void embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                     Range rows) = 0;
  /// Root-mean-square norm (Zhang & Sennrich 2019): out = x / sqrt(mean(x^2) + eps) * weight, per row, f32
  /// sums in a fixed order. out, x [T,H]; weight [H]; out may alias x.
  virtual void rms_norm(TensorView out, TensorView x, TensorView weight, float eps) = 0;
  /// out [T,N] = x [T,K] * w^T (+ bias [N] where not empty). w holds all leaves and has one root. out must
  /// not alias x.
  virtual void linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) = 0;
  /// Root-mean-square norm of every head by itself: x [T, heads * head_dim] in place, weight [head_dim].
  virtual void norm_heads(TensorView x, TensorView weight, float eps) = 0;
  /// out [heads, T]: the sums of squares of every head of x [T, heads * head_dim].
  virtual void head_squares(TensorView out, TensorView x) = 0;
  /// Root-mean-square norm of rows of which x [T,N] is a part in place, weight [N]: the squares of all
  /// `width` elements are the sum of the column [heads] of squares [heads, T], in order.
  virtual void norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                               float eps) = 0;
  /// out [R, >= T, N]: the sums at the R = w.roots().size() roots of this rank's leaves, in the first T rows
  /// of each plane; x [T, w.spec().columns()].
  virtual void linear_roots(TensorView out, TensorView x, const PackedWeight& w) = 0;
  /// Rotates the first `rotary` elements of each head of x [T, heads * head_dim] in place: element i with i +
  /// rotary / 2 (Su et al. 2021, the layout of Hugging Face). cos_sin [T, rotary]: rotary / 2 cosines, then
  /// as many sines.
  virtual void rope(TensorView x, TensorView cos_sin, int head_dim) = 0;
  /// Writes k, v [T, kv_heads * head_dim] at their positions into the pages of `layer`, rounded to the
  /// cache's dtype.
  virtual void write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) = 0;
  /// qkv [T, (query + 2 KV heads) * head_dim], query heads first, values last: norm_heads of the queries and
  /// of the keys and rope of both in place, then write_kv. The same bits in one pass where a device has one.
  virtual void prepare_heads(TensorView qkv, const HeadMap& heads, const HeadSteps& steps, KvCache& cache,
                             int layer, const Batch& batch);
  /// linear() into qkv, then prepare_heads() of it. The same bits in one pass where a device has one.
  virtual void linear_heads(TensorView qkv, TensorView x, const PackedWeight& w, TensorView bias,
                            const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                            const Batch& batch);
  /// Causal attention with online softmax over the pages (Dao et al. 2022): out, q [T, query_heads *
  /// head_dim]. Keys are walked in blocks at fixed absolute positions and merged in order. The batch's own k,
  /// v are written before.
  virtual void attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
                      const HeadMap& heads, const AttentionOptions& options) = 0;
  /// out [T,C] = silu(gate_up[:, 0:C]) * gate_up[:, C:2C]; silu(x) = x / (1 + exp(-x)).
  virtual void silu_mul(TensorView out, TensorView gate_up) = 0;
  /// The same with gelu(x) of Activation::kGelu.
  virtual void gelu_mul(TensorView out, TensorView gate_up) = 0;
  /// silu_mul or gelu_mul.
  void activate(TensorView out, TensorView gate_up, Activation activation);
  /// out [T,C]: linear(gate_up, x, w, bias), then activate(out, gate_up, activation): the same bits in one
  /// pass where a device has one, for weights whose spec is gated. gate_up [T,2C] is room for what lies
  /// between, and holds anything afterwards; neither may alias x or the other.
  virtual void linear_gated(TensorView out, TensorView gate_up, TensorView x, const PackedWeight& w,
                            TensorView bias, Activation activation);
  /// h [T,H] = h + (x + bias) * factor: one rounding each; bias [H] may be empty.
  virtual void add(TensorView h, TensorView x, TensorView bias, float factor) = 0;
  /// add, then rms_norm of h: the same bits in one pass where a device has one. x must not alias norm.out.
  virtual void add_norm(const ResidualNorm& norm, TensorView x);
  /// x [T,N] = x * factor.
  virtual void scale(TensorView x, float factor) = 0;
  /// x [T,N] = cap * tanh(x / cap).
  virtual void soft_cap(TensorView x, float cap) = 0;
  /// x [T,N] = 0.
  virtual void clear(TensorView x) = 0;
  /// out [T,H]: row rows[i] += weights[i] * row i of x [S,H], for i ascending, one fma each.
  virtual void add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                        std::span<const float> weights) = 0;
  /// Room for what route() finds.
  virtual std::unique_ptr<Routing> make_routing(const RouterRule& rule);
  /// numbers: of the experts, among all of the layer. Their weights must outlive the stack.
  virtual std::unique_ptr<ExpertStack> stack_experts(std::vector<Expert> experts, Range numbers,
                                                     Activation activation);
  /// route(), run_experts(), mix_experts() and add_gated() of so many rows and these experts give nothing
  /// back to the host: they may be recorded.
  virtual bool queues_experts(const ExpertStack&, const RouterRule&, std::int64_t /*rows*/) const {
    return false;
  }
  /// Chooses experts for every row of a router's logits [T, experts], as route_on_host().
  virtual void route(Routing& routing, TensorView logits);
  /// What route() found, in host memory, until it is called again.
  virtual const RoutingTables& routed(Routing& routing);
  /// out [R, S, H]: row s of plane r is root r of what expert e makes of row tokens[s] of x [T,H], where pair
  /// s of the routing is of one of these experts; other rows stay. It is linear_gated(), then linear_roots().
  virtual void run_experts(TensorView out, const ExpertRoom& room, TensorView x, const ExpertStack& experts,
                           Routing& routing);
  /// out [T,H] = the sums of rows of x [S,H] by their weights: clear(), then add_rows() of the routing.
  virtual void mix_experts(TensorView out, TensorView x, Routing& routing);
  /// out [T,H] += x * sigmoid(gates): add_rows() by sigmoids() of gates [T,1].
  virtual void add_gated(TensorView out, TensorView x, TensorView gates);
  /// Copies `count` whole pages, all layers: to[i] = from[i]; the lists are disjoint.
  virtual void copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) = 0;

  /// Reads scores where they lie; null where the device's memory is the host's, whose threads read them.
  virtual ScoreReader* score_reader() noexcept { return nullptr; }

  /// Runs body(), a part of every step of a model: calls of ops that give back nothing to the host, that are
  /// the same for the same caches and number of rows, and whose tensors lie where they always lie. A device
  /// may record what they queue and replay it without calling body(): the bits are the same.
  virtual void run_repeated(std::span<const CacheBatch> batches, const std::function<void()>& body);
  /// What ops will have taken for themselves, beside weights, caches and buffers, once these models are
  /// loaded one after the other and reserve() was called for each.
  virtual MemoryUse own_memory(std::span<const ModelNeeds> models) const;
  /// Takes the memory that ops themselves need in steps within these limits, with all weights that were
  /// packed and these caches, whose batches are empty.
  virtual void reserve(const StepLimits&, std::span<const CacheBatch> /*caches*/) {}
  /// From here on no op should take memory: one that does is reported in the log.
  virtual void expect_no_more_memory() {}
};

}  // namespace llm_tp

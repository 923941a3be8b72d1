#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <numbers>

#include "base/log.h"
#include "kernels/cuda/cuda_experts.h"
#include "kernels/cuda/device_views.h"

namespace llm_tp {
namespace {

/// What prepare_heads() reads of heads alone.
HeadArguments heads_alone(TensorView x, int head_dim) {
  LLM_TP_CHECK(head_dim > 0 && head_dim <= kMostHeadDim && x.columns() % head_dim == 0,
               "heads that do not make up their rows, or of more than 256 elements");
  HeadArguments args;
  args.head_dim = head_dim;
  args.parts[0].rows = rows_of(x);
  args.parts[0].heads = static_cast<std::int32_t>(x.columns() / head_dim);
  return args;
}
DeviceRows angles_of(TensorView cos_sin, const HeadArguments& heads, std::int64_t rows) {
  LLM_TP_CHECK(cos_sin.rows() == rows && cos_sin.columns() <= heads.head_dim, "rope: shapes");
  return rows_of(cos_sin);
}

}  // namespace

CudaBackend::CudaBackend(int device, int packing_threads, ManyTokensAs many_tokens, bool graphs)
    : many_tokens_(many_tokens),
      stream_((check_cuda(cudaSetDevice(device), "cudaSetDevice"), std::make_shared<CudaStream>())),
      pool_(packing_threads),
      pipe_(*stream_, wait_),
      operand_(stream_->get(), "the operand of products"),
      block_sums_(stream_->get(), "block sums of the operand of products"),
      partial_sums_(stream_->get(), "partial sums of attention"),
      partial_state_(stream_->get(), "partial states of attention"),
      tokens_(stream_->get(), pipe_),
      row_numbers_(stream_->get(), pipe_),
      row_weights_(stream_->get(), pipe_),
      copies_(stream_->get(), pipe_),
      score_reader_(*stream_, pipe_, wait_) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  if (properties.major < 8)
    throw Error(ExitCode::kUnavailable, "device cuda: " + std::string(properties.name) + " is sm_" +
                                            std::to_string(10 * properties.major + properties.minor) +
                                            "; sm_80 or later is needed; use --device cpu");
  DeviceLog::of_this_thread().begin(device, properties.name);
  if (graphs) graphs_.emplace(*stream_);
  if (many_tokens == ManyTokensAs::kCublasLt)
    library_.emplace(stream_->get(), make_cublaslt_gemm(stream_->get()));
  shared_bytes_ = properties.sharedMemPerBlockOptin;
  head_counts_ = CudaBackend::allocate(kMostCountedHeads * sizeof(std::uint32_t));
  description_ = "cuda " + std::string(properties.name) + ", device " + std::to_string(device);
}
CudaBackend::~CudaBackend() {
  if (!graphs_) return;
  const GraphCache::Figures& steps = graphs_->figures();
  log(LogLevel::kDebug, description_ + ": " + std::to_string(steps.as_it_is) +
                            " steps came the first time, " + std::to_string(steps.recorded) +
                            " were recorded, " + std::to_string(steps.replayed) + " replayed");
}

DeviceBuffer CudaBackend::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  void* at = nullptr;
  check_cuda(cudaMallocAsync(&at, bytes, stream_->get()), "cudaMallocAsync");
  DeviceLog::of_this_thread().takes_memory(bytes, "a buffer of the model");
  check_cuda(cudaMemsetAsync(at, 0, bytes, stream_->get()), "cudaMemsetAsync");
  return DeviceBuffer(static_cast<std::byte*>(at), bytes, [stream = stream_, bytes](std::byte* memory) {
    cudaFreeAsync(memory, stream->get());
    DeviceLog::of_this_thread().gives_back(bytes);
  });
}

std::optional<std::int64_t> CudaBackend::free_bytes() const {
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<std::int64_t>(free);
}
void CudaBackend::synchronize() {
  LLM_TP_CHECK(!stream_->is_recorded(), "ops that are recorded wait for the device");
  wait_.until([this] { return stream_->is_done(); });
}
void CudaBackend::upload(std::byte* to, std::span<const std::byte> from) { pipe_.copy(to, from); }

void CudaBackend::copy(std::byte* to, std::span<const std::byte> from) {
  check_cuda(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyDeviceToDevice, stream_->get()),
             "cudaMemcpyAsync on the device");
}

TensorView CudaBackend::on_host(TensorView tensor) {
  const auto rows = static_cast<std::size_t>(tensor.rows());
  const auto row = static_cast<std::size_t>(row_bytes(tensor.dtype, tensor.columns()));
  TensorView copy = tensor;
  copy.data = reserve_pinned(host_copy_, std::max<std::size_t>(rows * row, 1), *stream_, wait_);
  copy.row_stride = tensor.columns();
  if (rows * row > 0)
    check_cuda(cudaMemcpy2DAsync(copy.data, row, tensor.data,
                                 static_cast<std::size_t>(row_bytes(tensor.dtype, tensor.row_stride)), row,
                                 rows, cudaMemcpyDeviceToHost, stream_->get()),
               "cudaMemcpy2DAsync to the host");
  synchronize();
  return copy;
}

void CudaBackend::gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows) {
  LLM_TP_CHECK(out.rows() == std::ssize(rows) && out.columns() == x.columns(), "gather_rows: shapes");
  if (has_nothing(out)) return;
  llm_tp::gather_rows(stream_->get(), rows_of(out), rows_of(x), row_numbers_.hold(rows));
}

std::int64_t CudaBackend::packed_bytes(const WeightSpec& spec) const {
  return CudaPackedWeight::bytes_of(spec);
}
std::unique_ptr<PackedWeight> CudaBackend::pack(const WeightSpec& spec, const RowReader& read) {
  auto packed = std::make_unique<CudaPackedWeight>(spec, read, pool_, pipe_,
                                                   [this](std::size_t bytes) { return allocate(bytes); });
  weights_.push_back(packed->device());
  return packed;
}
std::int64_t CudaBackend::kv_bytes(const KvShape& shape) const { return CudaKvCache::bytes_of(shape); }
std::unique_ptr<KvCache> CudaBackend::make_kv_cache(const KvShape& shape) {
  return std::make_unique<CudaKvCache>(
      shape, allocate(static_cast<std::size_t>(CudaKvCache::bytes_of(shape))), stream_->get(), pipe_);
}

void CudaBackend::embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                        Range rows) {
  LLM_TP_CHECK(out.rows() == std::ssize(tokens) && rows.size() == table.spec().rows, "embed: shapes");
  if (has_nothing(out)) return;
  llm_tp::embed(stream_->get(), rows_of(out), tokens_.hold(tokens), static_cast<std::int32_t>(rows.begin),
                own(table).device());
}

void CudaBackend::rms_norm(TensorView out, TensorView x, TensorView weight, float eps) {
  LLM_TP_CHECK(out.rows() == x.rows() && out.columns() == x.columns(), "rms_norm: shapes");
  if (has_nothing(x)) return;
  llm_tp::rms_norm(stream_->get(), rows_of(out), rows_of(x), vector_of(weight, x.columns()), eps);
}

void CudaBackend::norm_heads(TensorView x, TensorView weight, float eps) {
  if (has_nothing(x)) return;
  HeadArguments args = heads_alone(x, static_cast<int>(weight.columns()));
  args.parts[0].norm = vector_of(weight, args.head_dim);
  args.epsilon = eps;
  llm_tp::prepare_heads(stream_->get(), args, x.rows());
}
void CudaBackend::head_squares(TensorView out, TensorView x) {
  LLM_TP_CHECK(out.rows() == 0 || (x.columns() % out.rows() == 0 && out.columns() == x.rows()),
               "head_squares: shapes");
  if (!has_nothing(out)) llm_tp::head_squares(stream_->get(), rows_of(out), rows_of(x));
}
void CudaBackend::norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                                  float eps) {
  LLM_TP_CHECK(squares.columns() == x.rows(), "norm_by_squares: shapes");
  if (has_nothing(x)) return;
  llm_tp::norm_by_squares(stream_->get(), rows_of(x), rows_of(squares), width, vector_of(weight, x.columns()),
                          eps);
}

void CudaBackend::fill(DeviceOperand& operand, const DeviceWeight& weight, bool parts) {
  if (parts)
    operand.parts = reinterpret_cast<uint2*>(operand_.reserve(
        static_cast<std::size_t>(operand_bytes(weight, operand.x.rows, operand.part_count))));
  if (const std::int64_t bytes = block_sum_bytes(weight, operand.x.rows))
    operand.block_sums = reinterpret_cast<float*>(block_sums_.reserve(static_cast<std::size_t>(bytes)));
  fill_operand(stream_->get(), operand, weight);
}

DeviceOperand CudaBackend::operand_of(TensorView x, const DeviceWeight& weight) {
  DeviceOperand operand{rows_of(x), operand_tiles(x.rows())};
  operand.part_count = part_count(x.rows());
  fill(operand, weight, !splits_inside(weight, x.rows(), shared_bytes_));
  return operand;
}

void CudaBackend::multiply(DeviceRows out, std::int64_t root_stride, TensorView x, const PackedWeight& w,
                           const float* bias) {
  LLM_TP_CHECK(x.columns() == w.spec().columns() && x.rows() == out.rows && out.columns == w.spec().rows,
               "linear: shapes");
  if (library_ && out.rows > kLibraryTokens)
    return library_->linear(out, root_stride, rows_of(x), own(w), bias);
  const DeviceWeight& weight = own(w).device();
  llm_tp::linear(stream_->get(), out, root_stride, operand_of(x, weight), weight, bias, shared_bytes_);
}

void CudaBackend::linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) {
  LLM_TP_CHECK(w.roots().size() == 1, "linear: a weight with several roots");
  if (!has_nothing(out)) multiply(rows_of(out), 0, x, w, vector_of(bias, w.spec().rows));
}
void CudaBackend::linear_roots(TensorView out, TensorView x, const PackedWeight& w) {
  if (has_nothing(out)) return;
  LLM_TP_CHECK(out.rank == 3 && out.shape[0] == std::ssize(w.roots()) && out.shape[1] >= x.rows(),
               "linear_roots: shapes");
  DeviceRows first = rows_of(out);
  first.rows = x.rows();
  if (first.rows > 0) multiply(first, out.shape[1] * first.stride, x, w, nullptr);
}

void CudaBackend::linear_gated(TensorView out, TensorView gate_up, TensorView x, const PackedWeight& w,
                               TensorView bias, Activation activation) {
  if (!w.spec().gated || out.rows() > kFewTokens)
    return DeviceBackend::linear_gated(out, gate_up, x, w, bias, activation);
  LLM_TP_CHECK(x.columns() == w.spec().columns() && x.rows() == out.rows() &&
                   2 * out.columns() == w.spec().rows && w.roots().size() == 1,
               "linear_gated: shapes");
  if (has_nothing(out)) return;
  const DeviceWeight& weight = own(w).device();
  llm_tp::linear_gated(stream_->get(), rows_of(out), activation, operand_of(x, weight), weight,
                       vector_of(bias, w.spec().rows), shared_bytes_);
}

void CudaBackend::rope(TensorView x, TensorView cos_sin, int head_dim) {
  if (has_nothing(x) || cos_sin.columns() == 0) return;
  HeadArguments args = heads_alone(x, head_dim);
  args.cos_sin = angles_of(cos_sin, args, x.rows());
  args.parts[0].rotates = true;
  llm_tp::prepare_heads(stream_->get(), args, x.rows());
}

void CudaBackend::keep(HeadArguments& args, KvCache& cache, int layer, TensorView k, TensorView v,
                       const Batch& batch) {
  const KvShape& shape = cache.shape();
  LLM_TP_CHECK(k.rows() == batch.rows() && v.rows() == k.rows() && k.columns() == v.columns() &&
                   k.columns() == std::int64_t{shape.kv_heads} * shape.head_dim && layer < shape.layers,
               "write_kv: shapes");
  args.head_dim = shape.head_dim;
  args.parts[1].rows = rows_of(k);
  args.parts[2].rows = rows_of(v);
  for (int part = 1; part <= 2; ++part) {
    args.parts[part].heads = shape.kv_heads;
    args.parts[part].kept = part - 1;
  }
  args.cache = own(cache).device();
  args.layer = layer;
  args.slots = own(cache).slots(batch);
}

void CudaBackend::write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) {
  if (has_nothing(k)) return;
  HeadArguments args;
  keep(args, cache, layer, k, v, batch);
  llm_tp::prepare_heads(stream_->get(), args, batch.rows());
}

HeadArguments CudaBackend::heads_of(TensorView qkv, const HeadMap& heads, const HeadSteps& steps,
                                    KvCache& cache, int layer, const Batch& batch) {
  const std::int64_t queries = heads.query_heads.size() * heads.head_dim,
                     keys = queries + heads.kv_heads.size() * heads.head_dim;
  HeadArguments args = heads_alone(qkv.column_range(0, queries), heads.head_dim);
  keep(args, cache, layer, qkv.column_range(queries, keys), qkv.column_range(keys, qkv.columns()), batch);
  args.parts[0].norm = vector_of(steps.query_norm, heads.head_dim);
  args.parts[1].norm = vector_of(steps.key_norm, heads.head_dim);
  args.epsilon = steps.norm_epsilon;
  if (!steps.cos_sin.empty() && steps.cos_sin.columns() > 0) {
    args.cos_sin = angles_of(steps.cos_sin, args, qkv.rows());
    args.parts[0].rotates = args.parts[1].rotates = true;
  }
  return args;
}

void CudaBackend::prepare_heads(TensorView qkv, const HeadMap& heads, const HeadSteps& steps, KvCache& cache,
                                int layer, const Batch& batch) {
  if (has_nothing(qkv)) return;
  llm_tp::prepare_heads(stream_->get(), heads_of(qkv, heads, steps, cache, layer, batch), qkv.rows());
}

void CudaBackend::linear_heads(TensorView qkv, TensorView x, const PackedWeight& w, TensorView bias,
                               const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                               const Batch& batch) {
  if (qkv.rows() > kFewTokens || heads.query_heads.size() + 2 * heads.kv_heads.size() > kMostCountedHeads)
    return DeviceBackend::linear_heads(qkv, x, w, bias, heads, steps, cache, layer, batch);
  LLM_TP_CHECK(x.columns() == w.spec().columns() && x.rows() == qkv.rows() &&
                   qkv.columns() == w.spec().rows && w.roots().size() == 1,
               "linear_heads: shapes");
  if (has_nothing(qkv)) return;
  const DeviceWeight& weight = own(w).device();
  const HeadTail tail{heads_of(qkv, heads, steps, cache, layer, batch),
                      reinterpret_cast<std::uint32_t*>(head_counts_.data())};
  llm_tp::linear_heads(stream_->get(), rows_of(qkv), operand_of(x, weight), weight,
                       vector_of(bias, w.spec().rows), tail, shared_bytes_);
}

void CudaBackend::attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
                         const HeadMap& heads, const AttentionOptions& options) {
  const KvShape& shape = cache.shape();
  LLM_TP_CHECK(out.rows() == batch.rows() && q.rows() == out.rows() && q.columns() == out.columns() &&
                   q.columns() == heads.query_heads.size() * heads.head_dim &&
                   heads.head_dim == shape.head_dim && heads.kv_heads.size() == shape.kv_heads &&
                   layer < shape.layers,
               "attend: shapes");
  if (has_nothing(out)) return;
  const AttentionPlanOptions plan_options =
      attention_options(own(cache).device(), heads, options.window, shared_bytes_);
  const CudaKvCache::Attention attention = own(cache).attention(batch, plan_options);
  const AttentionPlan& plan = attention.plan;
  const DeviceCache& device = own(cache).device();
  AttentionArguments args{};
  args.out = rows_of(out);
  args.q = rows_of(q);
  args.cache = device;
  args.layer = layer;
  args.heads = {static_cast<std::int32_t>(heads.query_heads.begin),
                static_cast<std::int32_t>(heads.query_heads.end),
                static_cast<std::int32_t>(heads.kv_heads.begin), heads.group};
  const double cap = options.soft_cap, log2e = std::numbers::log2e;
  args.scale = static_cast<float>(double{options.scale} * log2e * (cap > 0 ? 2.0 / cap : 1.0));
  args.cap_log2 = static_cast<float>(cap * log2e);
  // A window beyond any position is none.
  args.window = options.window >= std::int64_t{1} << 30 ? 0 : static_cast<std::int32_t>(options.window);
  args.pages = attention.pages;
  args.items = attention.items;
  args.merges = attention.merges;
  args.partial_rows = plan.partial_rows;
  if (plan.partials > 0) {
    const std::int64_t rows = std::int64_t{plan.partials} * plan.partial_rows;
    args.partial_sums = reinterpret_cast<float*>(
        partial_sums_.reserve(static_cast<std::size_t>(partial_sum_bytes(rows, device))));
    args.partial_state = reinterpret_cast<float2*>(
        partial_state_.reserve(static_cast<std::size_t>(partial_state_bytes(rows, device))));
  }
  llm_tp::attend(stream_->get(), args, plan, plan_options.block_rows);
}

MemoryUse CudaBackend::own_memory(std::span<const ModelNeeds> models) const {
  ScratchSizes scratch;
  MemoryUse use{std::int64_t{kMostCountedHeads} * std::int64_t{sizeof(std::uint32_t)}};
  if (library_) use.device += static_cast<std::int64_t>(StreamMemory::taken_for(kGemmWorkspaceBytes));
  std::vector<DeviceWeight> weights;
  std::int64_t most_pairs = 0;
  for (const ModelNeeds& model : models) {
    for (const WeightSpec& spec : model.weights) weights.push_back(CudaPackedWeight::geometry_of(spec));
    if (model.router) {
      most_pairs = std::max(most_pairs, CudaRouting::most_pairs(*model.router));
      use.device += CudaRouting::bytes_of(*model.router);
    }
    for (const std::int64_t experts : model.expert_stacks) use.device += CudaExpertStack::bytes_of(experts);
    for (const CacheNeeds& cache : model.caches)
      if (cache.shape.kv_heads > 0)
        use.device += CudaKvCache::TableSizes::of(cache.shape, model.limits,
                                                  attention_options_of(cache, model.limits, shared_bytes_))
                          .taken();
    scratch.widen(ScratchSizes::of(scratch_rules(), model.limits, weights, model.caches, most_pairs));
  }
  return use + scratch.taken();
}

void CudaBackend::reserve(const StepLimits& limits, std::span<const CacheBatch> caches) {
  std::vector<CacheNeeds> needs;
  for (const CacheBatch& at : caches) needs.push_back({at.cache->shape(), at.heads, at.window});
  const ScratchSizes sizes = ScratchSizes::of(scratch_rules(), limits, weights_, needs, most_pairs_);
  const auto size = [](std::int64_t bytes) { return static_cast<std::size_t>(bytes); };
  pipe_.reserve(size(sizes.pipe));
  reserve_pinned(host_copy_, size(sizes.host_copy), *stream_, wait_);
  operand_.reserve(size(sizes.operand));
  block_sums_.reserve(size(sizes.block_sums));
  partial_sums_.reserve(size(sizes.partial_sums));
  partial_state_.reserve(size(sizes.partial_state));
  tokens_.reserve(size(sizes.tokens));
  row_numbers_.reserve(size(sizes.row_numbers));
  row_weights_.reserve(size(sizes.row_weights));
  copies_.reserve(size(sizes.copies));
  if (library_) library_->reserve(sizes.library);
  score_reader_.reserve(sizes.scores);
  for (std::size_t i = 0; i < needs.size(); ++i)
    if (needs[i].shape.kv_heads > 0)
      static_cast<CudaKvCache*>(caches[i].cache)
          ->reserve(CudaKvCache::TableSizes::of(needs[i].shape, limits,
                                                attention_options_of(needs[i], limits, shared_bytes_)));
}

void CudaBackend::run_repeated(std::span<const CacheBatch> batches, const std::function<void()>& body) {
  // Above, kernels take longer than their launches.
  if (!graphs_ || batches.empty() || batches[0].batch.rows() > kLibraryTokens) return body();
  // What launches depend on: caches tell models and their weights apart; the workspace of a model and the
  // tables of a cache lie still; from the rows follow all shapes but those of the plan.
  GraphCache::Key key;
  for (const CacheBatch& at : batches) {
    key.push_back(reinterpret_cast<std::intptr_t>(at.cache));
    key.push_back(at.batch.rows());
    if (at.heads.kv_heads.empty()) continue;
    own(*at.cache).slots(at.batch);
    const AttentionPlan plan = own(*at.cache)
                                   .attention(at.batch, attention_options(own(*at.cache).device(), at.heads,
                                                                          at.window, shared_bytes_))
                                   .plan;
    key.insert(key.end(), {std::ssize(plan.items), std::ssize(plan.merges), plan.partial_rows,
                           plan.has_few_rows ? 1 : 0});
  }
  graphs_->run(std::move(key), body);
}

void CudaBackend::silu_mul(TensorView out, TensorView gate_up) {
  LLM_TP_CHECK(gate_up.rows() == out.rows() && gate_up.columns() == 2 * out.columns(), "silu_mul: shapes");
  if (!has_nothing(out)) llm_tp::silu_mul(stream_->get(), rows_of(out), rows_of(gate_up));
}

void CudaBackend::gelu_mul(TensorView out, TensorView gate_up) {
  LLM_TP_CHECK(gate_up.rows() == out.rows() && gate_up.columns() == 2 * out.columns(), "gelu_mul: shapes");
  if (!has_nothing(out)) llm_tp::gelu_mul(stream_->get(), rows_of(out), rows_of(gate_up));
}

void CudaBackend::add(TensorView h, TensorView x, TensorView bias, float factor) {
  LLM_TP_CHECK(x.rows() == h.rows() && x.columns() == h.columns(), "add: shapes");
  if (!has_nothing(h))
    llm_tp::add(stream_->get(), rows_of(h), rows_of(x), vector_of(bias, h.columns()), factor);
}
void CudaBackend::add_norm(const ResidualNorm& norm, TensorView x) {
  LLM_TP_CHECK(x.rows() == norm.h.rows() && x.columns() == norm.h.columns(), "add_norm: shapes");
  if (!has_nothing(norm.h)) llm_tp::add_norm(stream_->get(), residual_norm_of(norm), rows_of(x));
}
void CudaBackend::scale(TensorView x, float factor) {
  if (!has_nothing(x)) llm_tp::scale(stream_->get(), rows_of(x), factor);
}
void CudaBackend::soft_cap(TensorView x, float cap) {
  if (!has_nothing(x)) llm_tp::soft_cap(stream_->get(), rows_of(x), cap);
}
void CudaBackend::clear(TensorView x) {
  if (!has_nothing(x)) llm_tp::clear(stream_->get(), rows_of(x));
}
void CudaBackend::add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                           std::span<const float> weights) {
  LLM_TP_CHECK(x.rows() == std::ssize(rows) && rows.size() == weights.size() && x.columns() == out.columns(),
               "add_rows: shapes");
  if (has_nothing(x)) return;
  llm_tp::add_rows(stream_->get(), rows_of(out), rows_of(x), row_numbers_.hold(rows),
                   row_weights_.hold(weights));
}

void CudaBackend::copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) {
  LLM_TP_CHECK(from.size() == to.size(), "copy_pages: lists of unequal length");
  if (from.empty() || own(cache).device().page_bytes == 0) return;
  std::vector<int2> pages;
  for (std::size_t i = 0; i < from.size(); ++i) {
    own(cache).check(from[i]);
    own(cache).check(to[i]);
    pages.push_back({from[i], to[i]});
  }
  llm_tp::copy_pages(stream_->get(), own(cache).device(), copies_.hold(std::span<const int2>(pages)),
                     std::ssize(pages));
}

std::unique_ptr<DeviceBackend> make_cuda_backend(int device, int packing_threads, ManyTokensAs many_tokens,
                                                 bool graphs) {
  return std::make_unique<CudaBackend>(device, packing_threads, many_tokens, graphs);
}

}  // namespace llm_tp

#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <numbers>

#include "kernels/cuda/cuda_weight.h"
#include "kernels/vector_codes.h"

namespace llm_tp {
namespace {

class CudaKvCache final : public KvCache {
 public:
  CudaKvCache(const KvShape& shape, DeviceBuffer memory) : KvCache(shape), memory_(std::move(memory)) {
    device_ = {reinterpret_cast<unsigned char*>(memory_.data()),
               shape.dtype,
               shape.layers,
               shape.kv_heads,
               shape.head_dim,
               shape.page_tokens,
               head_bytes_of(shape),
               bytes_of(shape) / std::max(shape.pages, 1)};
  }
  const DeviceCache& device() const noexcept { return device_; }
  static std::int64_t bytes_of(const KvShape& s) {
    return std::int64_t{s.pages} * s.layers * 2 * s.kv_heads * head_bytes_of(s);
  }
  void check(PageId page) const {
    LLM_TP_CHECK(page >= 0 && page < shape().pages,
                 "page " + std::to_string(page) + " of " + std::to_string(shape().pages) + " does not exist");
  }

 private:
  static std::int64_t head_bytes_of(const KvShape& s) {
    const std::int64_t scales = has_vector_scales(s.dtype) ? row_bytes(DType::kF32, s.page_tokens) : 0;
    return row_bytes(s.dtype, std::int64_t{s.page_tokens} * s.head_dim) + scales;
  }
  DeviceBuffer memory_;
  DeviceCache device_;
};

// The backend makes its own weights and caches, so these casts cannot meet another's.
const CudaPackedWeight& own(const PackedWeight& w) { return static_cast<const CudaPackedWeight&>(w); }
const CudaKvCache& own(const KvCache& cache) { return static_cast<const CudaKvCache&>(cache); }

/// A matrix of f32, or the rows of a stack of them.
DeviceRows rows_of(TensorView t) {
  LLM_TP_CHECK(t.dtype == DType::kF32 && t.rank >= 1, "an activation that is not f32");
  return {reinterpret_cast<float*>(t.data), t.row_stride, t.rows(), t.columns()};
}
bool has_nothing(TensorView t) { return t.rows() == 0 || t.columns() == 0; }
const float* vector_of(TensorView t, std::int64_t elements) {
  if (t.empty()) return nullptr;
  LLM_TP_CHECK(t.dtype == DType::kF32 && t.columns() == elements, "a vector of another length");
  return reinterpret_cast<const float*>(t.data);
}

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

/// Pages of all slices, one after the other; every position of the batch has one.
std::vector<PageId> pages_of(const Batch& batch, const CudaKvCache& cache) {
  std::vector<PageId> pages;
  for (const BatchSlice& slice : batch.slices) {
    const std::int64_t positions = std::int64_t{slice.first_position} + slice.rows;
    LLM_TP_CHECK(positions <= (slice.pages_before + std::ssize(slice.pages)) * cache.shape().page_tokens,
                 "a slice has fewer pages than positions");
    for (const PageId page : slice.pages) {
      cache.check(page);
      pages.push_back(page);
    }
  }
  return pages;
}

}  // namespace

CudaBackend::CudaBackend(int device, int packing_threads, ManyTokensAs many_tokens)
    : many_tokens_(many_tokens),
      stream_((check_cuda(cudaSetDevice(device), "cudaSetDevice"), std::make_shared<CudaStream>())),
      pool_(packing_threads),
      pipe_(*stream_, wait_),
      operand_(stream_->get()),
      block_sums_(stream_->get()),
      partial_sums_(stream_->get()),
      partial_state_(stream_->get()),
      tokens_(stream_->get(), pipe_),
      row_numbers_(stream_->get(), pipe_),
      row_weights_(stream_->get(), pipe_),
      slots_(stream_->get(), pipe_),
      pages_(stream_->get(), pipe_),
      items_(stream_->get(), pipe_),
      merges_(stream_->get(), pipe_),
      copies_(stream_->get(), pipe_) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  if (properties.major < 8)
    throw Error(ExitCode::kUnavailable, "device cuda: " + std::string(properties.name) + " is sm_" +
                                            std::to_string(10 * properties.major + properties.minor) +
                                            "; sm_80 or later is needed; use --device cpu");
  DeviceLog::of_this_thread().begin(device, properties.name);
  shared_bytes_ = properties.sharedMemPerBlockOptin;
  description_ = "cuda " + std::string(properties.name) + ", device " + std::to_string(device);
}
CudaBackend::~CudaBackend() = default;

DeviceBuffer CudaBackend::allocate(std::size_t bytes) {
  void* at = nullptr;
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  check_cuda(cudaMallocAsync(&at, size, stream_->get()), "cudaMallocAsync");
  check_cuda(cudaMemsetAsync(at, 0, size, stream_->get()), "cudaMemsetAsync");
  return DeviceBuffer(static_cast<std::byte*>(at), bytes,
                      [stream = stream_](std::byte* memory) { cudaFreeAsync(memory, stream->get()); });
}

std::optional<std::int64_t> CudaBackend::free_bytes() const {
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<std::int64_t>(free);
}
void CudaBackend::synchronize() {
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
  return std::make_unique<CudaPackedWeight>(spec, read, pool_, pipe_,
                                            [this](std::size_t bytes) { return allocate(bytes); });
}
std::int64_t CudaBackend::kv_bytes(const KvShape& shape) const { return CudaKvCache::bytes_of(shape); }
std::unique_ptr<KvCache> CudaBackend::make_kv_cache(const KvShape& shape) {
  return std::make_unique<CudaKvCache>(shape,
                                       allocate(static_cast<std::size_t>(CudaKvCache::bytes_of(shape))));
}

void CudaBackend::embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                        Range rows) {
  LLM_TP_CHECK(out.rows() == std::ssize(tokens) && rows.size() == table.spec().rows, "embed: shapes");
  LLM_TP_CHECK(own(table).has_aligned_leaves(), "embed: a table whose leaves cut tiles");
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

void CudaBackend::multiply(DeviceRows out, std::int64_t root_stride, TensorView x, const PackedWeight& w,
                           const float* bias) {
  LLM_TP_CHECK(x.columns() == w.spec().columns() && x.rows() == out.rows && out.columns == w.spec().rows,
               "linear: shapes");
  const DeviceWeight& weight = own(w).device();
  DeviceOperand operand{rows_of(x), operand_tiles(out.rows)};
  if (many_tokens_ == ManyTokensAs::kBf16) operand.part_count = 1;
  if (const std::int64_t bytes = operand_bytes(weight, out.rows, operand.part_count))
    operand.parts = reinterpret_cast<uint2*>(operand_.reserve(static_cast<std::size_t>(bytes)));
  if (const std::int64_t bytes = block_sum_bytes(weight, out.rows))
    operand.block_sums = reinterpret_cast<float*>(block_sums_.reserve(static_cast<std::size_t>(bytes)));
  fill_operand(stream_->get(), operand, weight);
  llm_tp::linear(stream_->get(), out, root_stride, operand, weight, bias, shared_bytes_);
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
  std::vector<std::int32_t> slots(static_cast<std::size_t>(batch.rows()));
  for (const BatchSlice& slice : batch.slices)
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::int32_t position = slice.first_position + i;
      const std::int32_t page = position / shape.page_tokens - slice.pages_before;
      LLM_TP_CHECK(page >= 0 && page < std::ssize(slice.pages), "a position of a slice has no page");
      const PageId id = slice.pages[static_cast<std::size_t>(page)];
      own(cache).check(id);
      slots[static_cast<std::size_t>(slice.first_row + i)] =
          id * shape.page_tokens + position % shape.page_tokens;
    }
  args.head_dim = shape.head_dim;
  args.parts[1].rows = rows_of(k);
  args.parts[2].rows = rows_of(v);
  for (int part = 1; part <= 2; ++part) {
    args.parts[part].heads = shape.kv_heads;
    args.parts[part].kept = part - 1;
  }
  args.cache = own(cache).device();
  args.layer = layer;
  args.slots = slots_.hold(std::span<const std::int32_t>(slots));
}

void CudaBackend::write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) {
  if (has_nothing(k)) return;
  HeadArguments args;
  keep(args, cache, layer, k, v, batch);
  llm_tp::prepare_heads(stream_->get(), args, batch.rows());
}

void CudaBackend::prepare_heads(TensorView qkv, const HeadMap& heads, const HeadSteps& steps, KvCache& cache,
                                int layer, const Batch& batch) {
  const std::int64_t queries = heads.query_heads.size() * heads.head_dim,
                     keys = queries + heads.kv_heads.size() * heads.head_dim;
  if (has_nothing(qkv)) return;
  HeadArguments args = heads_alone(qkv.column_range(0, queries), heads.head_dim);
  keep(args, cache, layer, qkv.column_range(queries, keys), qkv.column_range(keys, qkv.columns()), batch);
  args.parts[0].norm = vector_of(steps.query_norm, heads.head_dim);
  args.parts[1].norm = vector_of(steps.key_norm, heads.head_dim);
  args.epsilon = steps.norm_epsilon;
  if (!steps.cos_sin.empty() && steps.cos_sin.columns() > 0) {
    args.cos_sin = angles_of(steps.cos_sin, args, qkv.rows());
    args.parts[0].rotates = args.parts[1].rotates = true;
  }
  llm_tp::prepare_heads(stream_->get(), args, qkv.rows());
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
  const std::vector<PageId> pages = pages_of(batch, own(cache));
  const int block_rows = attention_block_rows(heads.head_dim, shape.dtype, shared_bytes_);
  const AttentionPlan plan = plan_attention(batch, heads, options, block_rows);
  const DeviceCache& device = own(cache).device();
  AttentionArguments args{};
  args.out = rows_of(out);
  args.q = rows_of(q);
  args.cache = device;
  args.layer = layer;
  args.heads = {static_cast<std::int32_t>(heads.query_heads.begin),
                static_cast<std::int32_t>(heads.query_heads.end),
                static_cast<std::int32_t>(heads.kv_heads.begin), heads.group};
  args.cap = options.soft_cap;
  args.cap_log2 = static_cast<float>(double{options.soft_cap} * std::numbers::log2e);
  args.scale =
      options.soft_cap > 0 ? options.scale : static_cast<float>(double{options.scale} * std::numbers::log2e);
  // A window beyond any position is none.
  args.window = options.window >= std::int64_t{1} << 30 ? 0 : static_cast<std::int32_t>(options.window);
  args.pages = pages_.hold(std::span<const PageId>(pages));
  args.items = items_.hold(std::span<const AttentionItem>(plan.items));
  if (plan.partials > 0) {
    args.merges = merges_.hold(std::span<const AttentionMerge>(plan.merges));
    args.partial_sums = reinterpret_cast<float*>(
        partial_sums_.reserve(static_cast<std::size_t>(partial_sum_bytes(plan, device, block_rows))));
    args.partial_state = reinterpret_cast<float2*>(
        partial_state_.reserve(static_cast<std::size_t>(partial_state_bytes(plan, device, block_rows))));
  }
  llm_tp::attend(stream_->get(), args, plan, block_rows, shared_bytes_);
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
void CudaBackend::add_norm(TensorView out, TensorView h, TensorView x, TensorView bias, float factor,
                           TensorView weight, float eps) {
  LLM_TP_CHECK(x.rows() == h.rows() && x.columns() == h.columns() && out.rows() == h.rows() &&
                   out.columns() == h.columns(),
               "add_norm: shapes");
  if (!has_nothing(h))
    llm_tp::add_norm(stream_->get(), rows_of(out), rows_of(h), rows_of(x), vector_of(bias, h.columns()),
                     factor, vector_of(weight, h.columns()), eps);
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

std::unique_ptr<DeviceBackend> make_cuda_backend(int device, int packing_threads, ManyTokensAs many_tokens) {
  return std::make_unique<CudaBackend>(device, packing_threads, many_tokens);
}

}  // namespace llm_tp

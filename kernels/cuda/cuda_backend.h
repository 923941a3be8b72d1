#pragma once
#include <memory>
#include <optional>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_score_reader.h"
#include "kernels/cuda/device_factory.h"
#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/handles.h"
#include "kernels/cuda/heads.h"
#include "kernels/cuda/library_products.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/scratch_sizes.h"
#include "kernels/cuda/upload_pipe.h"
#include "kernels/device.h"

namespace llm_tp {

/// DeviceBackend on one GPU: one stream, memory in its order. One arithmetic of its own (docs/cuda.md): the
/// same bits for any number of such ranks, batch and chunk, other bits than the CPU's. Ops return once
/// queued. One thread calls; the backend's own threads help to pack weights.
class CudaBackend : public DeviceBackend {
 public:
  /// packing_threads: of the host, the calling one among them. graphs: run_repeated() records and replays.
  /// Errors: kUnavailable.
  CudaBackend(int device, int packing_threads, ManyTokensAs many_tokens = ManyTokensAs::kF32,
              bool graphs = true);
  ~CudaBackend() override;

  // For what queues work of its own between the ops: comm/nccl.
  cudaStream_t stream() const noexcept { return stream_->get(); }
  const CudaStream& ops_stream() const noexcept { return *stream_; }
  UploadPipe& pipe() noexcept { return pipe_; }
  /// How the host waits for the device: a watcher set here looks during every wait.
  DeviceWait& wait() noexcept { return wait_; }
  /// Empty: without graphs.
  const std::optional<GraphCache>& graphs() const noexcept { return graphs_; }

  std::string description() const override { return description_; }
  DeviceBuffer allocate(std::size_t bytes) override;
  std::optional<std::int64_t> free_bytes() const override;
  MemoryUse memory_in_use() const override { return DeviceLog::of_this_thread().in_use() - in_use_before_; }
  void synchronize() override;
  void upload(std::byte* to, std::span<const std::byte> from) override;
  void copy(std::byte* to, std::span<const std::byte> from) override;
  TensorView on_host(TensorView tensor) override;
  void gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows) override;

  std::int64_t packed_bytes(const WeightSpec& spec) const override;
  std::unique_ptr<PackedWeight> pack(const WeightSpec& spec, const RowReader& read) override;
  std::int64_t kv_bytes(const KvShape& shape) const override;
  std::unique_ptr<KvCache> make_kv_cache(const KvShape& shape) override;

  void embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table, Range rows) override;
  void rms_norm(TensorView out, TensorView x, TensorView weight, float eps) override;
  void norm_heads(TensorView x, TensorView weight, float eps) override;
  void head_squares(TensorView out, TensorView x) override;
  void norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                       float eps) override;
  void linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) override;
  void linear_roots(TensorView out, TensorView x, const PackedWeight& w) override;
  void linear_gated(TensorView out, TensorView gate_up, TensorView x, const PackedWeight& w, TensorView bias,
                    Activation activation) override;
  void rope(TensorView x, TensorView cos_sin, int head_dim) override;
  void write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) override;
  void prepare_heads(TensorView qkv, const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                     const Batch& batch) override;
  void linear_heads(TensorView qkv, TensorView x, const PackedWeight& w, TensorView bias,
                    const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                    const Batch& batch) override;
  void attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
              const HeadMap& heads, const AttentionOptions& options) override;
  void silu_mul(TensorView out, TensorView gate_up) override;
  void gelu_mul(TensorView out, TensorView gate_up) override;
  void add(TensorView h, TensorView x, TensorView bias, float factor) override;
  void add_norm(const ResidualNorm& norm, TensorView x) override;
  void scale(TensorView x, float factor) override;
  void soft_cap(TensorView x, float cap) override;
  void clear(TensorView x) override;
  void add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                std::span<const float> weights) override;
  // Mixtures of experts: cuda_experts.cc.
  std::unique_ptr<Routing> make_routing(const RouterRule& rule) override;
  std::unique_ptr<ExpertStack> stack_experts(std::vector<Expert> experts, Range numbers,
                                             Activation activation) override;
  bool queues_experts(const ExpertStack& experts, const RouterRule& rule, std::int64_t rows) const override;
  void route(Routing& routing, TensorView logits) override;
  const RoutingTables& routed(Routing& routing) override;
  void run_experts(TensorView out, const ExpertRoom& room, TensorView x, const ExpertStack& experts,
                   Routing& routing) override;
  void mix_experts(TensorView out, TensorView x, Routing& routing) override;
  void add_gated(TensorView out, TensorView x, TensorView gates) override;
  void copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) override;
  ScoreReader* score_reader() noexcept override { return &score_reader_; }
  void run_repeated(std::span<const CacheBatch> batches, const std::function<void()>& body) override;
  MemoryUse own_memory(std::span<const ModelNeeds> models) const override;
  void reserve(const StepLimits& limits, std::span<const CacheBatch> caches) override;
  void expect_no_more_memory() override { DeviceLog::of_this_thread().expect_no_more(); }

 private:
  /// Of an operand for so many tokens.
  std::int32_t part_count(std::int64_t tokens) const {
    return tokens <= kFewTokens || many_tokens_ == ManyTokensAs::kF32 ? kOperandParts : 1;
  }
  ScratchRules scratch_rules() const {
    return {shared_bytes_, part_count(kFewTokens + 1), library_ ? &*library_ : nullptr};
  }
  /// Sums of blocks where the weight needs them, and parts where they are asked for.
  void fill(DeviceOperand& operand, const DeviceWeight& weight, bool parts);
  /// x as products with the weight take it.
  DeviceOperand operand_of(TensorView x, const DeviceWeight& weight);
  void multiply(DeviceRows out, std::int64_t root_stride, TensorView x, const PackedWeight& w,
                const float* bias);
  /// What prepare_heads() of these does.
  HeadArguments heads_of(TensorView qkv, const HeadMap& heads, const HeadSteps& steps, KvCache& cache,
                         int layer, const Batch& batch);
  /// Adds keys and values, [T, KV heads * head_dim] each, to what prepare_heads() is to do.
  void keep(HeadArguments& args, KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch);

  const MemoryUse in_use_before_ = DeviceLog::of_this_thread().in_use();  // of this thread
  std::string description_;
  std::size_t shared_bytes_ = 0;  // that a block may have
  ManyTokensAs many_tokens_;
  std::shared_ptr<CudaStream> stream_;
  DeviceWait wait_;
  ThreadPool pool_;
  UploadPipe pipe_;
  PinnedMemory host_copy_;
  StreamMemory operand_, block_sums_, partial_sums_, partial_state_;
  DeviceBuffer head_counts_;           // u32 [kMostCountedHeads]
  std::int64_t most_pairs_ = 0;        // of tokens and experts that are routed on the device
  std::vector<DeviceWeight> weights_;  // that were packed: what an operand may be for
  StepTable tokens_, row_numbers_, row_weights_, copies_;
  std::optional<LibraryProducts> library_;
  CudaScoreReader score_reader_;
  std::optional<GraphCache> graphs_;
};

}  // namespace llm_tp

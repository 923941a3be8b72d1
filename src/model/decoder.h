#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/decoder_layer.h"
#include "model/kv_groups.h"
#include "model/rope.h"

namespace llm_tp {

/// One rank's share of a decoder: embedding, layers, final norm and LM head. All ranks call forward() and
/// logits() in the same order with the same batch. One thread.
class Decoder {
 public:
  /// Rows whose logits are computed at once.
  static constexpr std::int64_t kScoredRows = 16;

  Decoder(const ModelShape& shape, const ShardPlan& plan, int rank, RankWeights weights, DeviceBackend& ops,
          Communicator& ranks, std::int64_t most_rows);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Adapters that forward() may name, by their place in the list. Once, before the first step.
  void adapt(std::vector<AdapterWeights> adapters);
  /// Lets the device take what it needs itself for steps of up to `slices` sequences of up to `positions`
  /// tokens (step_limits) in these caches, one of each group of layers. Once, with all weights loaded.
  void reserve(std::span<KvCache* const> caches, std::int64_t slices, std::int64_t positions);
  /// Runs the step's rows through all layers; their keys and values are in the caches afterwards. kv: of each
  /// of kv_groups_of(shape), with the same rows. adapters: of those rows that have one.
  void forward(std::span<const KvStep> kv, std::span<const AdapterRows> adapters = {});
  /// Logits [S, this rank's vocabulary rows] of S <= kScoredRows rows of the last forward(), in host memory.
  /// Valid until the next call.
  TensorView logits(std::span<const std::int32_t> rows) { return ops_.on_host(head(final_states(rows))); }
  /// The last layer's output after the final norm, [S,H], of S <= kScoredRows rows of the last forward();
  /// whole on every rank, in device memory. Valid until the next call.
  TensorView final_states(std::span<const std::int32_t> rows);
  /// Logits of what final_states() gave, in device memory. Valid until the next call.
  TensorView head(TensorView states);

  const RankShare& share() const noexcept { return share_; }
  /// Why steps cannot be recorded by a device and replayed; empty where they can. Those with adapters never
  /// are.
  const std::string& why_not_recorded() const noexcept { return why_not_recorded_; }
  /// The largest steps of a rank, as reserve() tells its device: llm_tp::step_limits().
  static StepLimits step_limits(const ModelShape& shape, const ShardPlan& plan, int rank,
                                std::int64_t most_rows, std::int64_t slices, std::int64_t positions,
                                bool sums_on_device);
  /// Bytes of activations for steps of most_rows rows.
  static std::int64_t workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank,
                                      std::int64_t most_rows);

 private:
  void embed(TensorView h, std::span<const TokenId> tokens);
  std::string find_why_not_recorded() const;
  bool layers_queue(std::int64_t rows) const;
  TensorView angles(const Rope& rope, const DeviceBuffer& room, const Batch& batch);

  ModelShape shape_;
  ShardPlan plan_;
  int rank_;
  RankShare share_;
  RankWeights weights_;
  DeviceBackend& ops_;
  Communicator& ranks_;
  std::int64_t most_rows_;
  std::vector<KvGroup> groups_;
  std::string why_not_recorded_;
  Rope rope_;
  std::optional<Rope> local_rope_;
  std::vector<float> angles_;  // of the step's rows, on the host
  LayerSums sums_;
  std::vector<int> vocabulary_ends_;  // of each rank: who owns an embedding row
  std::vector<DecoderLayer> layers_;
  Workspace workspace_;
  std::optional<AdapterSet> adapters_;
};

}  // namespace llm_tp

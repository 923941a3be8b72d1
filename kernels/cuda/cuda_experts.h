#pragma once
#include <functional>
#include <optional>

#include "kernels/cuda/routing.h"
#include "kernels/cuda/upload_pipe.h"
#include "kernels/experts.h"

namespace llm_tp {

/// What route() found for a step: in device memory for steps of up to most_pairs() pairs, else on the host.
class CudaRouting final : public Routing {
 public:
  CudaRouting(const RouterRule& rule, const std::function<DeviceBuffer(std::size_t)>& allocate);
  /// As few for every expert as one pass over its weights takes, on average.
  static std::int64_t most_pairs(const RouterRule& rule) { return std::int64_t{kFewTokens} * rule.experts; }
  /// Of device memory.
  static std::int64_t bytes_of(const RouterRule& rule);
  const DeviceRouting& device() const noexcept { return device_; }

  std::int64_t device_pairs = 0;  // of this step in device memory; 0: the host routed
  bool on_host = true;            // the tables are those of this step

 private:
  DeviceBuffer memory_;
  DeviceRouting device_;
};

/// Experts whose weights are of one kind are multiplied together.
class CudaExpertStack final : public ExpertStack {
 public:
  CudaExpertStack(std::vector<Expert> experts, Range numbers, Activation activation,
                  const std::function<DeviceBuffer(std::size_t)>& allocate, UploadPipe& pipe);
  /// Of device memory, of so many experts that are alike.
  static std::int64_t bytes_of(std::int64_t experts) {
    return 2 * experts * std::int64_t{sizeof(const unsigned char*)};
  }
  /// Where they are not alike: nothing to be multiplied together.
  bool are_alike() const noexcept { return alike_; }
  const ExpertWeights& gate_up() const noexcept { return gate_up_; }
  const ExpertWeights& down() const noexcept { return down_; }

 private:
  bool alike_ = false;
  DeviceBuffer tiles_;
  ExpertWeights gate_up_, down_;
};

}  // namespace llm_tp

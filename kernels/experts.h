#pragma once
#include <utility>
#include <vector>

#include "kernels/stacked_weight.h"

namespace llm_tp {

/// A gated MLP of a mixture, or a rank's columns of it: down(act(gate x) * up x).
struct Expert {
  const StackedWeight* gate_up = nullptr;  // [2C,H]
  const PackedWeight* down = nullptr;      // [H,C]
};

/// Their weights, before there are any.
struct ExpertSpecs {
  std::vector<WeightSpec> gate_up;  // one piece, or several that are of unlike types
  WeightSpec down;
};
/// Whether the experts' weights are of one kind, with gates and what they are for in one piece: then a device
/// may multiply all of them together.
bool multiply_together(std::span<const ExpertSpecs> experts);

/// The experts of a layer that a rank has, as many columns of each. Made by DeviceBackend::stack_experts().
class ExpertStack {
 public:
  /// numbers: of the experts, among all of the layer. Borrows their weights.
  ExpertStack(std::vector<Expert> experts, Range numbers, Activation activation)
      : experts_(std::move(experts)), numbers_(numbers), activation_(activation) {}
  virtual ~ExpertStack() = default;
  ExpertStack(const ExpertStack&) = delete;
  ExpertStack& operator=(const ExpertStack&) = delete;

  const std::vector<Expert>& experts() const noexcept { return experts_; }
  Range numbers() const noexcept { return numbers_; }
  Activation activation() const noexcept { return activation_; }
  std::int64_t columns() const { return experts_.empty() ? 0 : experts_.front().gate_up->rows() / 2; }

 private:
  std::vector<Expert> experts_;
  Range numbers_;
  Activation activation_;
};

/// What run_experts() has room in: holds anything before and afterwards.
struct ExpertRoom {
  TensorView rows;       // [S,H]
  TensorView gate_up;    // [T,2C]
  TensorView activated;  // [S,C]
};

}  // namespace llm_tp

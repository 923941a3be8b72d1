#pragma once
#include <vector>

#include "device_tensor.h"
#include "kernels/experts.h"
#include "kernels/routing.h"

namespace llm_tp::testing {

/// A step of a mixture of experts, as a layer runs it but for the router's product and sums over ranks.
struct MixtureCase {
  DType dtype = DType::kBF16;
  std::int64_t rows = 3;
  RouterRule rule{5, 2, true};
  Range numbers{0, 5};  // of the experts that the rank has
  Range leaves{0, 3};   // of its columns: two roots
  Activation activation = Activation::kSilu;
  std::vector<float> logits = random_floats(rows * rule.experts, 1, 2.0f);
  std::vector<float> logits_before = {};  // of a step of as many rows that was routed before this one

  /// Outputs of the experts at all roots, then the mixture of the first root's with a gated row on top. By
  /// the backend's own ops, or as the interface composes them.
  std::vector<float> run(DeviceBackend& ops, bool composed) const {
    const std::int64_t block = std::max(block_elements(dtype), 32), hidden = 2 * block;
    const LeafCut cut{3 * block, block, 3};
    const std::int64_t columns = cut.columns_of(leaves).size(), pairs = rows * rule.chosen;
    std::vector<StackedWeight> gate_up(static_cast<std::size_t>(numbers.size()));
    std::vector<std::unique_ptr<PackedWeight>> down;
    std::vector<Expert> experts;
    for (std::size_t e = 0; e < gate_up.size(); ++e) {
      const auto seed = static_cast<unsigned>(e);
      gate_up[e].append(RandomWeight(dtype, 2 * columns, {hidden, block, 2}, 10 + seed).gated().pack(ops));
      down.push_back(RandomWeight(dtype, hidden, cut, 20 + seed).pack(ops, leaves));
      experts.push_back({&gate_up[e], down.back().get()});
    }
    const std::int64_t roots = std::ssize(down.front()->roots());
    const auto filled = [](std::int64_t count) {
      return std::vector<float>(static_cast<std::size_t>(count), -1.0f);
    };
    const DeviceTensor scores(ops, logits, rows), scores_before(ops, logits_before, rows),
        x(ops, random_floats(rows * hidden, 2), rows), gates(ops, random_floats(rows, 3, 3.0f), rows),
        listed(ops, filled(pairs * hidden), pairs), between(ops, filled(rows * 2 * columns), rows),
        activated(ops, filled(pairs * columns), pairs),
        out(ops, filled(roots * pairs * hidden), roots * pairs), mixed(ops, filled(rows * hidden), rows);
    const TensorView planes{out.view.data, DType::kF32, 3, {roots, pairs, hidden, 0}, hidden};
    const ExpertRoom room{listed.view, between.view, activated.view};
    const auto routing = ops.make_routing(rule);
    const auto stack = ops.stack_experts(experts, numbers, activation);
    if (composed) {
      ops.DeviceBackend::route(*routing, scores.view);
      ops.DeviceBackend::run_experts(planes, room, x.view, *stack, *routing);
      ops.DeviceBackend::mix_experts(mixed.view, out.view.row_range(0, pairs), *routing);
      ops.DeviceBackend::add_gated(mixed.view, x.view, gates.view);
    } else {
      if (!logits_before.empty()) ops.route(*routing, scores_before.view);
      ops.route(*routing, scores.view);
      ops.run_experts(planes, room, x.view, *stack, *routing);
      ops.mix_experts(mixed.view, out.view.row_range(0, pairs), *routing);
      ops.add_gated(mixed.view, x.view, gates.view);
    }
    std::vector<float> result = out.take();
    const std::vector<float> sums = mixed.take();
    result.insert(result.end(), sums.begin(), sums.end());
    return result;
  }
};

}  // namespace llm_tp::testing

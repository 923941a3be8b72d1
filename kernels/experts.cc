#include "kernels/experts.h"

#include <algorithm>
#include <numeric>

#include "kernels/device.h"
#include "kernels/routing.h"

namespace llm_tp {

// Mixtures of experts where the host routes.

bool multiply_together(std::span<const ExpertSpecs> experts) {
  return std::all_of(experts.begin(), experts.end(), [&](const ExpertSpecs& expert) {
    return expert.gate_up.size() == 1 && expert.gate_up.front().gated &&
           are_alike(expert.gate_up.front(), experts.front().gate_up.front()) &&
           are_alike(expert.down, experts.front().down);
  });
}

std::unique_ptr<Routing> DeviceBackend::make_routing(const RouterRule& rule) {
  return std::make_unique<Routing>(rule);
}

std::unique_ptr<ExpertStack> DeviceBackend::stack_experts(std::vector<Expert> experts, Range numbers,
                                                          Activation activation) {
  return std::make_unique<ExpertStack>(std::move(experts), numbers, activation);
}

void DeviceBackend::route(Routing& routing, TensorView logits) {
  routing.tables = route_on_host(on_host(logits), routing.rule());
}

const RoutingTables& DeviceBackend::routed(Routing& routing) { return routing.tables; }

void DeviceBackend::run_experts(TensorView out, const ExpertRoom& room, TensorView x,
                                const ExpertStack& experts, Routing& routing) {
  const RoutingTables& tables = routed(routing);
  LLM_TP_CHECK(room.rows.rows() == std::ssize(tables.tokens), "run_experts: another step's routing");
  gather_rows(room.rows, x, tables.tokens);
  auto begin = tables.begins.begin() + experts.numbers().begin;
  for (const Expert& expert : experts.experts()) {
    const std::int64_t first = *begin++, end = *begin;
    if (first == end) continue;
    const TensorView activated = room.activated.row_range(first, end);
    expert.gate_up->linear_gated(*this, activated, room.gate_up.row_range(0, end - first),
                                 room.rows.row_range(first, end), {}, experts.activation());
    // The planes of all experts' rows lie one after the other; this expert writes its own rows of each.
    TensorView own = out;
    own.data += row_bytes(DType::kF32, first * out.row_stride);
    linear_roots(own, activated, *expert.down);
  }
}

void DeviceBackend::mix_experts(TensorView out, TensorView x, Routing& routing) {
  const RoutingTables& tables = routed(routing);
  clear(out);
  add_rows(out, x, tables.tokens, tables.weights);
}

void DeviceBackend::add_gated(TensorView out, TensorView x, TensorView gates) {
  const std::vector<float> weights = sigmoids(on_host(gates));
  std::vector<std::int32_t> every_row(weights.size());
  std::iota(every_row.begin(), every_row.end(), 0);
  add_rows(out, x, every_row, weights);
}

}  // namespace llm_tp

#include "kernels/cuda/cuda_experts.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device_views.h"

namespace llm_tp {
namespace {

const CudaExpertStack& own(const ExpertStack& experts) {
  return static_cast<const CudaExpertStack&>(experts);
}
CudaRouting& own(Routing& routing) { return static_cast<CudaRouting&>(routing); }

const PackedWeight& gates_of(const Expert& expert) { return *expert.gate_up->pieces().front(); }

/// Numbers in the tables of a routing.
struct RoutingSizes {
  std::size_t experts, pairs, tiles;
  explicit RoutingSizes(const RouterRule& rule)
      : experts(static_cast<std::size_t>(rule.experts)),
        pairs(static_cast<std::size_t>(CudaRouting::most_pairs(rule))),
        tiles(static_cast<std::size_t>(most_pair_tiles(CudaRouting::most_pairs(rule), rule.experts))) {}
  std::size_t bytes() const { return (experts + 1 + 5 * pairs) * 4 + tiles * sizeof(PairTile); }
};

}  // namespace

std::int64_t CudaRouting::bytes_of(const RouterRule& rule) {
  return static_cast<std::int64_t>(RoutingSizes(rule).bytes());
}

CudaRouting::CudaRouting(const RouterRule& rule, const std::function<DeviceBuffer(std::size_t)>& allocate)
    : Routing(rule) {
  const auto [experts, pairs, tiles] = RoutingSizes(rule);
  memory_ = allocate(RoutingSizes(rule).bytes());
  std::byte* at = memory_.data();
  const auto place = [&at](auto*& table, std::size_t numbers) {
    table = reinterpret_cast<std::remove_reference_t<decltype(table)>>(at);
    at += numbers * sizeof(*table);
  };
  place(device_.begins, experts + 1);
  place(device_.tokens, pairs);
  place(device_.weights, pairs);
  place(device_.places, pairs);
  place(device_.choices, pairs);
  place(device_.choice_weights, pairs);
  place(device_.tiles, tiles);
}

CudaExpertStack::CudaExpertStack(std::vector<Expert> experts, Range numbers, Activation activation,
                                 const std::function<DeviceBuffer(std::size_t)>& allocate, UploadPipe& pipe)
    : ExpertStack(std::move(experts), numbers, activation) {
  const std::vector<Expert>& all = this->experts();
  std::vector<ExpertSpecs> specs;
  for (const Expert& expert : all) {
    specs.push_back({{}, expert.down->spec()});
    for (const auto& piece : expert.gate_up->pieces()) specs.back().gate_up.push_back(piece->spec());
  }
  alike_ = multiply_together(specs);
  if (!alike_ || all.empty()) return;
  std::vector<const unsigned char*> tiles;
  for (const Expert& expert : all) tiles.push_back(own(gates_of(expert)).device().tiles);
  for (const Expert& expert : all) tiles.push_back(own(*expert.down).device().tiles);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(tiles));
  tiles_ = allocate(static_cast<std::size_t>(bytes_of(std::ssize(all))));
  pipe.copy(tiles_.data(), bytes);
  const auto* const table = reinterpret_cast<const unsigned char* const*>(tiles_.data());
  const auto first = static_cast<std::int32_t>(numbers.begin), count = static_cast<std::int32_t>(all.size());
  gate_up_ = {own(gates_of(all.front())).device(), table, first, count};
  down_ = {own(*all.front().down).device(), table + count, first, count};
}

std::unique_ptr<Routing> CudaBackend::make_routing(const RouterRule& rule) {
  most_pairs_ = std::max(most_pairs_, CudaRouting::most_pairs(rule));
  return std::make_unique<CudaRouting>(rule, [this](std::size_t bytes) { return allocate(bytes); });
}

std::unique_ptr<ExpertStack> CudaBackend::stack_experts(std::vector<Expert> experts, Range numbers,
                                                        Activation activation) {
  return std::make_unique<CudaExpertStack>(
      std::move(experts), numbers, activation, [this](std::size_t bytes) { return allocate(bytes); }, pipe_);
}

bool CudaBackend::queues_experts(const ExpertStack& experts, const RouterRule& rule,
                                 std::int64_t rows) const {
  return own(experts).are_alike() && rule.experts <= kMostExperts &&
         rows * rule.chosen <= CudaRouting::most_pairs(rule);
}

void CudaBackend::route(Routing& routing, TensorView logits) {
  CudaRouting& found = own(routing);
  const RouterRule& rule = routing.rule();
  LLM_TP_CHECK(logits.columns() == rule.experts && rule.chosen <= rule.experts, "route: shapes");
  const std::int64_t pairs = logits.rows() * rule.chosen;
  const bool on_device = rule.experts <= kMostExperts && pairs <= CudaRouting::most_pairs(rule);
  found.device_pairs = on_device ? pairs : 0;
  found.on_host = found.device_pairs == 0;
  if (found.on_host) return DeviceBackend::route(routing, logits);
  llm_tp::route(stream_->get(), found.device(), rows_of(logits), rule);
}

const RoutingTables& CudaBackend::routed(Routing& routing) {
  CudaRouting& found = own(routing);
  if (!found.on_host) {
    const auto fetch = [this](auto& to, const auto* from, std::int64_t count) {
      const TensorView view = on_host(
          TensorView::matrix(const_cast<std::remove_const_t<std::remove_pointer_t<decltype(from)>>*>(from),
                             DType::kI32, 1, count, count));
      to.resize(static_cast<std::size_t>(count));
      std::memcpy(to.data(), view.data, to.size() * 4);
    };
    fetch(routing.tables.tokens, found.device().tokens, found.device_pairs);
    fetch(routing.tables.weights, found.device().weights, found.device_pairs);
    fetch(routing.tables.begins, found.device().begins, routing.rule().experts + 1);
    found.on_host = true;
  }
  return routing.tables;
}

void CudaBackend::run_experts(TensorView out, const ExpertRoom& room, TensorView x,
                              const ExpertStack& experts, Routing& routing) {
  const CudaRouting& found = own(routing);
  const CudaExpertStack& stack = own(experts);
  if (found.device_pairs == 0 || !stack.are_alike())
    return DeviceBackend::run_experts(out, room, x, experts, routing);
  if (has_nothing(out) || stack.experts().empty()) return;
  const Expert& one = stack.experts().front();
  LLM_TP_CHECK(
      out.rank == 3 && out.shape[0] == std::ssize(one.down->roots()) && out.shape[1] == found.device_pairs &&
          out.columns() == one.down->spec().rows && x.rows() * routing.rule().chosen == found.device_pairs &&
          x.columns() == gates_of(one).spec().columns() && room.activated.rows() == found.device_pairs &&
          room.activated.columns() == one.down->spec().columns() &&
          2 * room.activated.columns() == gates_of(one).spec().rows,
      "run_experts: shapes");
  const std::int64_t tiles = most_pair_tiles(found.device_pairs, routing.rule().experts);
  const auto operand_of = [this](TensorView rows, const ExpertWeights& weights) {
    DeviceOperand operand{rows_of(rows), operand_tiles(rows.rows())};
    fill(operand, weights.weight, true);
    return operand;
  };
  multiply_experts(stream_->get(), rows_of(room.activated), 0, operand_of(x, stack.gate_up()),
                   stack.gate_up(), found.device(), tiles, found.device().tokens, stack.activation(),
                   shared_bytes_);
  DeviceRows first = rows_of(out);
  first.rows = found.device_pairs;
  multiply_experts(stream_->get(), first, out.shape[1] * first.stride,
                   operand_of(room.activated, stack.down()), stack.down(), found.device(), tiles, nullptr,
                   std::nullopt, shared_bytes_);
}

void CudaBackend::mix_experts(TensorView out, TensorView x, Routing& routing) {
  const CudaRouting& found = own(routing);
  if (found.device_pairs == 0) return DeviceBackend::mix_experts(out, x, routing);
  LLM_TP_CHECK(x.rows() == found.device_pairs && out.rows() * routing.rule().chosen == x.rows() &&
                   out.columns() == x.columns(),
               "mix_experts: shapes");
  if (!has_nothing(out))
    mix_rows(stream_->get(), rows_of(out), rows_of(x), found.device(), routing.rule().chosen);
}

void CudaBackend::add_gated(TensorView out, TensorView x, TensorView gates) {
  LLM_TP_CHECK(x.rows() == out.rows() && x.columns() == out.columns() && gates.rows() == out.rows() &&
                   gates.columns() == 1,
               "add_gated: shapes");
  if (!has_nothing(out)) llm_tp::add_gated(stream_->get(), rows_of(out), rows_of(x), rows_of(gates));
}

}  // namespace llm_tp

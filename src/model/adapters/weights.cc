#include "model/adapters/weights.h"

#include <algorithm>
#include <functional>

#include "kernels/model_needs.h"
#include "model/rank_layout.h"

namespace llm_tp {
namespace {

/// The adapter of one matrix of this rank, to be made.
struct Wanted {
  const AdapterModule* module = nullptr;
  WeightSpec a, b;
  std::vector<Range> b_rows;  // of the file, one below the other
  std::int64_t first_column = 0;
};

/// Walks the base's layout: what is cut there is cut here.
class AdapterVisitor final : public WeightVisitor {
 public:
  using Visit = std::function<void(WeightKey, const Wanted&)>;
  AdapterVisitor(const AdapterFiles& files, Visit visit) : files_(files), visit_(std::move(visit)) {}

  void matrix(std::unique_ptr<PackedWeight>&, const Packing& packing) override {
    const TensorPart& part = packing.parts.front();
    if (part.key.role != WeightRole::kOutput && part.key.role != WeightRole::kDown) return;
    visit(part.key, packing.cut, packing.leaves, {part.rows}, 0);
  }
  void stacked(StackedWeight&, const std::vector<Packing>& packings) override {
    std::int64_t column = 0;
    for (const Packing& packing : packings)
      for (std::size_t i = 0; i < packing.parts.size();) {
        const WeightKey key = packing.parts[i].key;  // a fused tensor is there several times
        const std::int64_t first = column;
        std::vector<Range> rows;
        for (; i < packing.parts.size() && packing.parts[i].key == key; ++i) {
          rows.push_back(packing.parts[i].rows);
          column += rows.back().size();
        }
        visit(key, packing.cut, packing.leaves, std::move(rows), first);
      }
  }
  void vector(DeviceBuffer&, const std::vector<TensorPart>&, float) override {}

 private:
  void visit(WeightKey key, const LeafCut& cut, Range leaves, std::vector<Range> rows, std::int64_t first) {
    const AdapterModule* module = files_.find(key);
    if (module == nullptr) return;
    Wanted wanted{module, {DType::kF32, module->rank, cut, leaves}, {}, std::move(rows), first};
    const LeafCut inner = LeafCut::whole(module->rank, 16);
    wanted.b = {DType::kF32, 0, inner, {0, inner.leaves}};
    for (const Range& range : wanted.b_rows) wanted.b.rows += range.size();
    visit_(key, wanted);
  }

  const AdapterFiles& files_;
  Visit visit_;
};

void walk(const AdapterFiles& files, const ModelShape& shape, const ShardPlan& plan, int rank,
          const AdapterVisitor::Visit& visit) {
  const std::function<DType(WeightKey)> plain = [](WeightKey) { return DType::kF32; };
  RankWeights nothing;
  AdapterVisitor visitor(files, visit);
  RankLayout(shape, plan, rank, plain).walk(nothing, visitor);
}

std::vector<LowRank>& place_of(LayerAdapter& layer, WeightRole role) {
  switch (role) {
    case WeightRole::kOutput:
      return layer.output;
    case WeightRole::kDown:
      return layer.down;
    case WeightRole::kGate:
    case WeightRole::kUp:
    case WeightRole::kGateUp:
      return layer.gate_up;
    default:
      return layer.qkv;
  }
}

std::unique_ptr<PackedWeight> pack(const AdapterFiles& files, const SafetensorsTensor& tensor,
                                   const WeightSpec& spec, const std::vector<Range>& stored_rows,
                                   DeviceBackend& ops) {
  const Range columns = spec.cut.columns_of(spec.leaves);
  return ops.pack(spec, [&](Range rows, std::byte* out) {
    std::int64_t first = 0;  // of the range, in the packed weight
    for (const Range& range : stored_rows) {
      const Range here{std::max(rows.begin, first), std::min(rows.end, first + range.size())};
      if (!here.empty())
        files.read(tensor, {range.begin + here.begin - first, range.begin + here.end - first}, columns,
                   reinterpret_cast<float*>(out + (here.begin - rows.begin) *
                                                      row_bytes(DType::kF32, columns.size())));
      first += range.size();
    }
  });
}

}  // namespace

std::int64_t adapter_bytes(const AdapterFiles& files, const ModelShape& shape, const ShardPlan& plan,
                           int rank, const DeviceBackend& ops, std::vector<WeightSpec>& kinds) {
  std::int64_t bytes = 0;
  walk(files, shape, plan, rank, [&](WeightKey, const Wanted& wanted) {
    for (const WeightSpec* spec : {&wanted.a, &wanted.b}) {
      bytes += ops.packed_bytes(*spec);
      add_kind(kinds, *spec);
    }
  });
  return bytes;
}

AdapterWeights load_adapter(const AdapterFiles& files, const ModelShape& shape, const ShardPlan& plan,
                            int rank, DeviceBackend& ops) {
  AdapterWeights weights;
  weights.layers.resize(static_cast<std::size_t>(shape.layers));
  walk(files, shape, plan, rank, [&](WeightKey key, const Wanted& wanted) {
    const AdapterModule& module = *wanted.module;
    place_of(weights.layers[static_cast<std::size_t>(key.layer)], key.role)
        .push_back({pack(files, module.a, wanted.a, {{0, module.rank}}, ops),
                    pack(files, module.b, wanted.b, wanted.b_rows, ops), module.scale, wanted.first_column});
  });
  return weights;
}

}  // namespace llm_tp

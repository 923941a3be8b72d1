#include "model/weight_loader.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <unordered_map>

#include "kernels/experts.h"
#include "kernels/model_needs.h"
#include "model/rank_layout.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

void read_as(const WeightSource& source, WeightKey key, Range rows, Range columns, DType wanted,
             std::byte* out) {
  const DType stored = source.find(key)->dtype;
  if (stored == wanted) return source.read(key, rows, columns, out);
  const std::int64_t from = row_bytes(stored, columns.size()), to = row_bytes(wanted, columns.size());
  std::vector<std::byte> raw(static_cast<std::size_t>(from * rows.size()));
  source.read(key, rows, columns, raw.data());
  for (std::int64_t r = 0; r < rows.size(); ++r)
    convert_row(stored, raw.data() + r * from, wanted, out + r * to, columns.size());
}

/// The groups that these columns are in, numbered in the order of their first columns.
std::shared_ptr<const ColumnGroupsOfRank> column_groups(const WeightSource& source, WeightKey key,
                                                        Range columns) {
  const auto all = source.find(key).value().column_groups;
  auto groups = std::make_shared<ColumnGroupsOfRank>();
  std::unordered_map<std::int32_t, int> numbers;
  for (std::int64_t k = columns.begin; k < columns.end; ++k) {
    const auto [at, added] = numbers.try_emplace((*all)[static_cast<std::size_t>(k)], groups->count);
    if (added) ++groups->count;
    groups->of_column.push_back(static_cast<std::uint16_t>(at->second));
  }
  return groups;
}

WeightSpec spec_of(const WeightSource& source, const Packing& packing) {
  WeightSpec spec = packing.spec();
  if (has_column_scales(spec.dtype))
    spec.column_groups = column_groups(source, packing.parts.front().key, spec.cut.columns_of(spec.leaves));
  return spec;
}

/// Bytes of a vector in memory: a rank without any number of it still gets a buffer.
std::int64_t vector_bytes(const std::vector<TensorPart>& parts) {
  std::int64_t numbers = 0;
  for (const TensorPart& part : parts) numbers += part.rows.size();
  return std::max<std::int64_t>(numbers, 1) * std::int64_t{sizeof(float)};
}

class SizeCounter final : public WeightVisitor {
 public:
  SizeCounter(const WeightSource& source, const DeviceBackend& ops) : source_(source), ops_(ops) {}

  void matrix(std::unique_ptr<PackedWeight>&, const Packing& packing) override {
    WeightSpec spec = add(packing);
    const WeightKey key = packing.parts.front().key;
    if (key.role == WeightRole::kExpertDown) experts_[key.layer].back().down = std::move(spec);
  }
  void stacked(StackedWeight&, const std::vector<Packing>& packings) override {
    std::vector<WeightSpec> pieces;
    for (const Packing& packing : packings) pieces.push_back(add(packing));
    const WeightKey key = packings.front().parts.front().key;
    if (key.role == WeightRole::kExpertGate) experts_[key.layer].push_back({std::move(pieces), {}});
  }
  void vector(DeviceBuffer&, const std::vector<TensorPart>& parts, float) override {
    total_.weights += vector_bytes(parts);
  }
  /// Once all were visited.
  WeightLoader::Sizes take() {
    for (const auto& [layer, experts] : experts_)
      if (multiply_together(experts)) total_.expert_stacks.push_back(std::ssize(experts));
    return std::move(total_);
  }

 private:
  WeightSpec add(const Packing& packing) {
    WeightSpec spec = spec_of(source_, packing);
    total_.weights += ops_.packed_bytes(spec);
    add_kind(total_.kinds, spec);
    return spec;
  }

  WeightLoader::Sizes total_;
  std::map<int, std::vector<ExpertSpecs>> experts_;  // of each layer
  const WeightSource& source_;
  const DeviceBackend& ops_;
};

class Loading final : public WeightVisitor {
 public:
  Loading(const WeightSource& source, DeviceBackend& ops,
          const std::function<void(std::int64_t, std::int64_t)>& progress, std::int64_t total)
      : source_(source), ops_(ops), progress_(progress), total_(total) {}

  void matrix(std::unique_ptr<PackedWeight>& slot, const Packing& packing) override { slot = pack(packing); }
  void stacked(StackedWeight& slot, const std::vector<Packing>& packings) override {
    for (const Packing& packing : packings) slot.append(pack(packing));
  }
  void vector(DeviceBuffer& slot, const std::vector<TensorPart>& parts, float added) override {
    std::vector<float> host(static_cast<std::size_t>(vector_bytes(parts)) / sizeof(float));
    std::int64_t at = 0;
    for (const TensorPart& part : parts) {
      read_as(source_, part.key, {0, 1}, part.rows, DType::kF32,
              reinterpret_cast<std::byte*>(host.data() + at));
      at += part.rows.size();
    }
    for (float& number : host) number += added;
    slot = ops_.allocate(host.size() * sizeof(float));
    ops_.upload(slot.data(), std::as_bytes(std::span(host)));
    progress_(done_ += static_cast<std::int64_t>(slot.bytes()), total_);
  }

 private:
  std::unique_ptr<PackedWeight> pack(const Packing& packing) {
    const WeightSpec spec = spec_of(source_, packing);
    const Range columns = spec.cut.columns_of(spec.leaves);
    const auto read = [&](Range rows, std::byte* out) {
      std::int64_t first = 0;  // of the part, in the packed weight
      for (const TensorPart& part : packing.parts) {
        const Range here{std::max(rows.begin, first), std::min(rows.end, first + part.rows.size())};
        if (!here.empty()) {
          const Range stored{part.rows.begin + here.begin - first, part.rows.begin + here.end - first};
          read_as(source_, part.key, stored, columns, spec.dtype,
                  out + (here.begin - rows.begin) * row_bytes(spec.dtype, columns.size()));
        }
        first += part.rows.size();
      }
    };
    auto packed = ops_.pack(spec, read);
    for (const TensorPart& part : packing.parts) source_.release(part.key);
    progress_(done_ += ops_.packed_bytes(spec), total_);
    return packed;
  }

  const WeightSource& source_;
  DeviceBackend& ops_;
  const std::function<void(std::int64_t, std::int64_t)>& progress_;
  std::int64_t total_, done_ = 0;
};

}  // namespace

WeightLoader::WeightLoader(const ModelShape& shape, const WeightSource& source, std::optional<DType> wanted)
    : shape_(shape), source_(&source), wanted_(wanted) {
  for (const ModelTensor& tensor : tensors_of(shape)) {
    const auto info = source.find(tensor.key);
    const std::string wanted_shape =
        is_vector(tensor.key.role) ? std::to_string(tensor.columns)
                                   : std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns);
    if (!info)
      throw Error(ExitCode::kBadData,
                  "the checkpoint lacks the tensor " + huggingface_name(tensor.key, shape.style.names) +
                      " (" + gguf_name(tensor.key) +
                      " in GGUF), which its configuration asks for: wanted shape " + wanted_shape);
    if (info->rows != tensor.rows || info->columns != tensor.columns)
      throw Error(ExitCode::kBadData, info->name + " has shape " + std::to_string(info->rows) + " x " +
                                          std::to_string(info->columns) + ", the configuration wants " +
                                          wanted_shape);
  }
}

DType WeightLoader::dtype(WeightKey key) const {
  const WeightInfo info = source_->find(key).value();
  if (!wanted_) return info.dtype;
  // Rows that do not divide into the wanted blocks stay plain.
  return info.columns % block_elements(*wanted_) == 0 ? *wanted_ : DType::kBF16;
}

ShardUnits WeightLoader::units() const {
  ShardUnits units;
  const auto widen = [&](std::int64_t& unit, WeightKey key) {
    unit = std::lcm(unit, static_cast<std::int64_t>(block_elements(dtype(key))));
  };
  for (int layer = 0; layer < shape_.layers; ++layer) {
    widen(units.output_block, {WeightRole::kOutput, layer});
    if (!shape_.layer(layer).experts) {
      widen(units.down_block, {WeightRole::kDown, layer});
      continue;
    }
    for (int e = 0; e < shape_.experts.count; ++e)
      widen(units.expert_block, {WeightRole::kExpertDown, layer, e});
    if (shape_.experts.shared_columns > 0) widen(units.shared_block, {WeightRole::kSharedDown, layer});
  }
  return units;
}

WeightLoader::Sizes WeightLoader::sizes(const ShardPlan& plan, int rank, const DeviceBackend& ops) const {
  const std::function<DType(WeightKey)> dtype_of = [this](WeightKey key) { return dtype(key); };
  RankWeights nothing;
  SizeCounter counter(*source_, ops);
  RankLayout(shape_, plan, rank, dtype_of).walk(nothing, counter);
  return counter.take();
}

RankWeights WeightLoader::load(const ShardPlan& plan, int rank, DeviceBackend& ops,
                               const std::function<void(std::int64_t, std::int64_t)>& progress) const {
  const std::function<DType(WeightKey)> dtype_of = [this](WeightKey key) { return dtype(key); };
  RankWeights weights;
  Loading loading(*source_, ops, progress, sizes(plan, rank, ops).weights);
  RankLayout(shape_, plan, rank, dtype_of).walk(weights, loading);
  return weights;
}

}  // namespace llm_tp

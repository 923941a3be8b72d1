#include "model/rank_weights.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "weights/weight_names.h"

namespace llm_tp {
namespace {

/// Rows of one tensor that become rows of a packed weight.
struct Part {
  WeightKey key;
  Range rows;
};

}  // namespace

/// The loading of one rank: which specs, in which order.
class RankLoad {
 public:
  RankLoad(const WeightLoader& loader, const ShardPlan& plan, int rank)
      : loader_(loader),
        shape_(loader.shape_),
        plan_(plan),
        share_(plan.ranks[static_cast<std::size_t>(rank)]) {}

  struct Packing {
    WeightSpec spec;
    std::vector<Part> parts;
  };
  /// Tensors whose input is whole on every rank, one below the other; neighbours of one dtype together.
  std::vector<Packing> column_parallel(const std::vector<Part>& parts) const {
    std::vector<Packing> packings;
    for (const Part& part : parts) {
      const DType dtype = loader_.dtype(part.key);
      if (packings.empty() || packings.back().spec.dtype != dtype) {
        const LeafCut cut = LeafCut::whole(shape_.hidden, is_quantised(dtype) ? block_elements(dtype) : 16);
        packings.push_back({{dtype, 0, cut, {0, cut.leaves}}, {}});
      }
      packings.back().spec.rows += part.rows.size();
      packings.back().parts.push_back(part);
    }
    return packings;
  }
  Packing row_parallel(WeightKey key, const LeafCut& cut, Range leaves) const {
    return {{loader_.dtype(key), shape_.hidden, cut, leaves}, {{key, {0, shape_.hidden}}}};
  }

  Packing embedding() const { return vocabulary(WeightRole::kEmbedding); }
  Packing lm_head() const { return vocabulary(WeightRole::kLmHead); }
  std::vector<Packing> qkv(int layer) const {
    return column_parallel({{{WeightRole::kQuery, layer}, query_rows()},
                            {{WeightRole::kKey, layer}, kv_rows()},
                            {{WeightRole::kValue, layer}, kv_rows()}});
  }
  Packing output(int layer) const {
    return row_parallel({WeightRole::kOutput, layer}, plan_.output_cut, share_.output_leaves);
  }
  std::vector<Packing> gate_up(int layer) const {
    return column_parallel(
        {{{WeightRole::kGate, layer}, share_.mlp_columns}, {{WeightRole::kUp, layer}, share_.mlp_columns}});
  }
  Packing down(int layer) const {
    return row_parallel({WeightRole::kDown, layer}, plan_.down_cut, share_.down_leaves);
  }

  Range query_rows() const { return heads(share_.query_heads); }
  Range kv_rows() const { return heads(share_.kv_heads); }

  std::unique_ptr<PackedWeight> pack(DeviceBackend& ops, const Packing& packing) const {
    const WeightSource& source = *loader_.source_;
    const WeightSpec& spec = packing.spec;
    const std::vector<Part>& parts = packing.parts;
    const Range columns = spec.cut.columns_of(spec.leaves);
    const auto read = [&](Range rows, std::byte* out) {
      std::int64_t first = 0;  // of the part, in the packed weight
      for (const Part& part : parts) {
        const Range here{std::max(rows.begin, first), std::min(rows.end, first + part.rows.size())};
        if (!here.empty()) {
          const Range stored{part.rows.begin + here.begin - first, part.rows.begin + here.end - first};
          read_as(source, part.key, stored, columns, spec.dtype,
                  out + (here.begin - rows.begin) * row_bytes(spec.dtype, columns.size()));
        }
        first += part.rows.size();
      }
      LLM_TP_CHECK(first == spec.rows, "the parts of a packed weight do not add up");
    };
    auto packed = ops.pack(spec, read);
    for (const Part& part : parts) source.release(part.key);
    return packed;
  }

  /// Bytes of vector() for so many numbers: a rank without any still gets a buffer.
  static std::int64_t vector_bytes(std::int64_t numbers) {
    return std::max<std::int64_t>(numbers, 1) * std::int64_t{sizeof(float)};
  }

  /// The concatenated ranges of vectors, widened to f32.
  DeviceBuffer vector(DeviceBackend& ops, const std::vector<Part>& parts) const {
    std::int64_t n = 0;
    for (const Part& part : parts) n += part.rows.size();
    std::vector<std::byte> host(static_cast<std::size_t>(n) * sizeof(float));
    std::int64_t at = 0;
    for (const Part& part : parts) {
      read_as(*loader_.source_, part.key, {0, 1}, part.rows, DType::kF32, host.data() + at * 4);
      at += part.rows.size();
    }
    DeviceBuffer buffer = ops.allocate(static_cast<std::size_t>(vector_bytes(n)));
    ops.upload(buffer.data(), host);
    return buffer;
  }

 private:
  Packing vocabulary(WeightRole role) const { return column_parallel({{{role}, share_.vocab_rows}}).front(); }
  Range heads(Range h) const { return {h.begin * shape_.head_dim, h.end * shape_.head_dim}; }

  static void read_as(const WeightSource& source, WeightKey key, Range rows, Range columns, DType wanted,
                      std::byte* out) {
    const DType stored = source.find(key)->dtype;
    if (stored == wanted) return source.read(key, rows, columns, out);
    const std::int64_t from = row_bytes(stored, columns.size()), to = row_bytes(wanted, columns.size());
    std::vector<std::byte> raw(static_cast<std::size_t>(from * rows.size()));
    source.read(key, rows, columns, raw.data());
    for (std::int64_t r = 0; r < rows.size(); ++r)
      convert_row(stored, raw.data() + r * from, wanted, out + r * to, columns.size());
  }

  const WeightLoader& loader_;
  const ModelShape& shape_;
  const ShardPlan& plan_;
  const RankShare& share_;
};

WeightLoader::WeightLoader(const ModelShape& shape, const WeightSource& source, std::optional<DType> wanted)
    : shape_(shape), source_(&source), wanted_(wanted) {
  const std::int64_t h = shape.hidden, q = shape.query_heads * shape.head_dim,
                     kv = shape.kv_heads * shape.head_dim, c = shape.mlp_columns;
  require({WeightRole::kEmbedding}, shape.vocabulary, h);
  require({WeightRole::kFinalNorm}, 1, h);
  if (!shape.tied_embeddings) require({WeightRole::kLmHead}, shape.vocabulary, h);
  for (int layer = 0; layer < shape.layers; ++layer) {
    const auto need = [&](WeightRole role, std::int64_t rows, std::int64_t columns) {
      require({role, layer}, rows, columns);
    };
    need(WeightRole::kAttentionNorm, 1, h), need(WeightRole::kMlpNorm, 1, h);
    need(WeightRole::kQuery, q, h), need(WeightRole::kKey, kv, h), need(WeightRole::kValue, kv, h),
        need(WeightRole::kOutput, h, q);
    need(WeightRole::kGate, c, h), need(WeightRole::kUp, c, h), need(WeightRole::kDown, h, c);
    if (shape.qkv_bias)
      need(WeightRole::kQueryBias, 1, q), need(WeightRole::kKeyBias, 1, kv),
          need(WeightRole::kValueBias, 1, kv);
    if (shape.output_bias) need(WeightRole::kOutputBias, 1, h);
    if (shape.mlp_bias)
      need(WeightRole::kGateBias, 1, c), need(WeightRole::kUpBias, 1, c), need(WeightRole::kDownBias, 1, h);
  }
}

WeightInfo WeightLoader::require(WeightKey key, std::int64_t rows, std::int64_t columns) const {
  const auto info = source_->find(key);
  const std::string wanted =
      is_vector(key.role) ? std::to_string(columns) : std::to_string(rows) + " x " + std::to_string(columns);
  if (!info)
    throw Error(ExitCode::kBadData,
                "the checkpoint lacks the tensor " + huggingface_name(key) + " (" + gguf_name(key) +
                    " in GGUF), which its configuration asks for: wanted shape " + wanted);
  if (info->rows != rows || info->columns != columns)
    throw Error(ExitCode::kBadData, info->name + " has shape " + std::to_string(info->rows) + " x " +
                                        std::to_string(info->columns) + ", the configuration wants " +
                                        wanted);
  return *info;
}

DType WeightLoader::dtype(WeightKey key) const {
  const WeightInfo info = source_->find(key).value();
  if (!wanted_) return info.dtype;
  // Rows that do not divide into the wanted blocks stay plain.
  return info.columns % block_elements(*wanted_) == 0 ? *wanted_ : DType::kBF16;
}

ShardUnits WeightLoader::units() const {
  ShardUnits units;
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const auto widen = [&](std::int64_t& unit, WeightRole role) {
      unit = std::lcm(unit, static_cast<std::int64_t>(block_elements(dtype({role, layer}))));
    };
    widen(units.output_block, WeightRole::kOutput);
    widen(units.down_block, WeightRole::kDown);
  }
  return units;
}

WeightLoader::Bytes WeightLoader::bytes(const ShardPlan& plan, int rank, const DeviceBackend& ops) const {
  const RankLoad load(*this, plan, rank);
  Bytes total;
  const auto count = [&](const RankLoad::Packing& packing) {
    const std::int64_t own = ops.packed_bytes(packing.spec);
    total.weights += own;
    total.largest = std::max(total.largest, own);
  };
  count(load.embedding());
  if (!shape_.tied_embeddings) count(load.lm_head());
  for (int layer = 0; layer < shape_.layers; ++layer) {
    for (const auto& packing : load.qkv(layer)) count(packing);
    count(load.output(layer));
    for (const auto& packing : load.gate_up(layer)) count(packing);
    count(load.down(layer));
  }
  const auto count_vectors = [&](std::int64_t numbers, std::int64_t times) {
    total.weights += RankLoad::vector_bytes(numbers) * times;
  };
  count_vectors(shape_.hidden, 2 * shape_.layers + 1);
  if (shape_.qkv_bias) count_vectors(load.query_rows().size() + 2 * load.kv_rows().size(), shape_.layers);
  if (shape_.output_bias) count_vectors(shape_.hidden, shape_.layers);
  if (shape_.mlp_bias) {
    count_vectors(2 * plan.ranks[static_cast<std::size_t>(rank)].mlp_columns.size(), shape_.layers);
    count_vectors(shape_.hidden, shape_.layers);
  }
  return total;
}

RankWeights WeightLoader::load(const ShardPlan& plan, int rank, DeviceBackend& ops,
                               const std::function<void(std::int64_t, std::int64_t)>& progress) const {
  const RankLoad load(*this, plan, rank);
  const RankShare& share = plan.ranks[static_cast<std::size_t>(rank)];
  const std::int64_t total = bytes(plan, rank, ops).weights;
  std::int64_t done = 0;
  const auto pack = [&](const RankLoad::Packing& packing) {
    auto packed = load.pack(ops, packing);
    progress(done += ops.packed_bytes(packing.spec), total);
    return packed;
  };
  const auto vector = [&](const std::vector<Part>& parts) {
    DeviceBuffer buffer = load.vector(ops, parts);
    done += static_cast<std::int64_t>(buffer.bytes());
    return buffer;
  };
  const Range hidden{0, shape_.hidden};
  RankWeights weights;
  weights.embedding = pack(load.embedding());
  weights.final_norm = vector({{{WeightRole::kFinalNorm}, hidden}});
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const auto of = [&](WeightRole role, Range rows) { return Part{{role, layer}, rows}; };
    LayerWeights w;
    w.attention_norm = vector({of(WeightRole::kAttentionNorm, hidden)});
    w.mlp_norm = vector({of(WeightRole::kMlpNorm, hidden)});
    for (const auto& packing : load.qkv(layer)) w.qkv.append(pack(packing));
    w.output = pack(load.output(layer));
    for (const auto& packing : load.gate_up(layer)) w.gate_up.append(pack(packing));
    w.down = pack(load.down(layer));
    if (shape_.qkv_bias)
      w.qkv_bias =
          vector({of(WeightRole::kQueryBias, load.query_rows()), of(WeightRole::kKeyBias, load.kv_rows()),
                  of(WeightRole::kValueBias, load.kv_rows())});
    if (shape_.output_bias) w.output_bias = vector({of(WeightRole::kOutputBias, hidden)});
    if (shape_.mlp_bias) {
      w.gate_up_bias =
          vector({of(WeightRole::kGateBias, share.mlp_columns), of(WeightRole::kUpBias, share.mlp_columns)});
      w.down_bias = vector({of(WeightRole::kDownBias, hidden)});
    }
    weights.layers.push_back(std::move(w));
  }
  if (!shape_.tied_embeddings) weights.lm_head = pack(load.lm_head());
  progress(done, total);
  return weights;
}

}  // namespace llm_tp

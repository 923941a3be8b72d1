#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <numbers>

#include "kernels/reference/widen.h"
#include "kernels/vector_codes.h"

namespace llm_tp {
namespace {

class ReferenceWeight : public PackedWeight {
 public:
  ReferenceWeight(const WeightSpec& spec, std::vector<double> w) : PackedWeight(spec), w_(std::move(w)) {}
  double at(std::int64_t row, std::int64_t column) const {
    return w_[static_cast<std::size_t>(row * spec().columns() + column)];
  }

 private:
  std::vector<double> w_;  // [rows, columns]
};

// [page][layer][token][kv_head][head_dim], keys and values apart.
class ReferenceCache : public KvCache {
 public:
  explicit ReferenceCache(const KvShape& shape)
      : KvCache(shape), keys(numbers(shape), kUnwritten), values(numbers(shape), kUnwritten) {}
  static std::size_t page_numbers(const KvShape& s) {
    return static_cast<std::size_t>(s.layers) * static_cast<std::size_t>(s.page_tokens) *
           static_cast<std::size_t>(s.kv_heads * s.head_dim);
  }
  static std::size_t numbers(const KvShape& s) { return static_cast<std::size_t>(s.pages) * page_numbers(s); }
  /// Index of element 0 of a head at a position of a sequence.
  std::size_t index(int layer, const BatchSlice& slice, std::int64_t position, std::int64_t head) const {
    const KvShape& s = shape();
    const std::int64_t page = slice.page_of(position, s.page_tokens);
    const std::int64_t token = (page * s.layers + layer) * s.page_tokens + position % s.page_tokens;
    return static_cast<std::size_t>((token * s.kv_heads + head) * s.head_dim);
  }

  static constexpr double kUnwritten = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> keys, values;
};

const ReferenceWeight& own(const PackedWeight& w) { return static_cast<const ReferenceWeight&>(w); }
ReferenceCache& own(KvCache& cache) { return static_cast<ReferenceCache&>(cache); }
const ReferenceCache& own(const KvCache& cache) { return static_cast<const ReferenceCache&>(cache); }

/// scale: that of its vector, where dtype has them.
double rounded_to(DType dtype, float value, float scale) {
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  if (dtype == DType::kInt8) return double{scale} * int8_code(value, scale);
  if (dtype == DType::kE4M3) return double{scale} * e4m3_to_f32(e4m3_code(value, scale));
  return value;
}

void round_vectors(const KvShape& shape, const float* x, double* to) {
  const auto head_dim = static_cast<std::size_t>(shape.head_dim);
  for (int head = 0; head < shape.kv_heads; ++head, x += head_dim, to += head_dim) {
    const float scale = vector_scale({x, head_dim}, shape.dtype);
    for (std::size_t d = 0; d < head_dim; ++d) to[d] = rounded_to(shape.dtype, x[d], scale);
  }
}

}  // namespace

DeviceBuffer ReferenceBackend::allocate(std::size_t bytes) {
  auto* data =
      static_cast<std::byte*>(::operator new (std::max<std::size_t>(bytes, 1), std::align_val_t{64}));
  std::fill(data, data + bytes, std::byte{0});
  return DeviceBuffer(data, bytes, [](std::byte* at) { ::operator delete (at, std::align_val_t{64}); });
}

std::int64_t ReferenceBackend::packed_bytes(const WeightSpec& spec) const {
  return spec.rows * spec.columns() * static_cast<std::int64_t>(sizeof(double));
}
std::unique_ptr<PackedWeight> ReferenceBackend::pack(const WeightSpec& spec, const RowReader& read) {
  std::vector<std::byte> file(static_cast<std::size_t>(spec.rows * row_bytes(spec.dtype, spec.columns())));
  read({0, spec.rows}, file.data());
  return std::make_unique<ReferenceWeight>(spec, widen(spec.dtype, file.data(), spec.rows * spec.columns()));
}
std::int64_t ReferenceBackend::kv_bytes(const KvShape& shape) const {
  return static_cast<std::int64_t>(2 * sizeof(double) * ReferenceCache::numbers(shape));
}
std::unique_ptr<KvCache> ReferenceBackend::make_kv_cache(const KvShape& shape) {
  return std::make_unique<ReferenceCache>(shape);
}

void ReferenceBackend::embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                             Range rows) {
  for (std::int64_t t = 0; t < std::ssize(tokens); ++t) {
    const std::int64_t token = tokens[static_cast<std::size_t>(t)];
    for (std::int64_t i = 0; i < out.columns(); ++i)
      out.row(t)[i] =
          rows.contains(token) ? static_cast<float>(own(table).at(token - rows.begin, i)) + 0.0f : 0.0f;
  }
}

void ReferenceBackend::rms_norm(TensorView out, TensorView x, TensorView weight, float eps) {
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    double squares = 0;
    for (std::int64_t i = 0; i < x.columns(); ++i) squares += double{x.row(t)[i]} * x.row(t)[i];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.columns()) + double{eps});
    for (std::int64_t i = 0; i < x.columns(); ++i)
      out.row(t)[i] = static_cast<float>(x.row(t)[i] * scale * weight.row(0)[i]);
  }
}

void ReferenceBackend::norm_heads(TensorView x, TensorView weight, float eps) {
  const std::int64_t head_dim = weight.columns();
  for (std::int64_t at = 0; at < x.columns(); at += head_dim) {
    const TensorView head = x.column_range(at, at + head_dim);
    rms_norm(head, head, weight, eps);
  }
}

void ReferenceBackend::head_squares(TensorView out, TensorView x) {
  const std::int64_t heads = out.rows();
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      const std::int64_t head_dim = x.columns() / heads;
      double squares = 0;
      for (std::int64_t i = 0; i < head_dim; ++i)
        squares += double{x.row(t)[head * head_dim + i]} * x.row(t)[head * head_dim + i];
      out.row(head)[t] = static_cast<float>(squares);
    }
}

void ReferenceBackend::norm_by_squares(TensorView x, TensorView squares, std::int64_t width,
                                       TensorView weight, float eps) {
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    double sum = 0;
    for (std::int64_t head = 0; head < squares.rows(); ++head) sum += squares.row(head)[t];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(width) + double{eps});
    for (std::int64_t i = 0; i < x.columns(); ++i)
      x.row(t)[i] = static_cast<float>(x.row(t)[i] * scale * weight.row(0)[i]);
  }
}

void ReferenceBackend::linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) {
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    for (std::int64_t n = 0; n < w.spec().rows; ++n) {
      double sum = bias.empty() ? 0.0 : double{bias.row(0)[n]};
      for (std::int64_t k = 0; k < x.columns(); ++k) sum += own(w).at(n, k) * x.row(t)[k];
      out.row(t)[n] = static_cast<float>(sum);
    }
  }
}

void ReferenceBackend::linear_roots(TensorView out, TensorView x, const PackedWeight& w) {
  const WeightSpec& spec = w.spec();
  const std::int64_t first = spec.cut.columns_of(spec.leaves).begin;
  for (std::size_t r = 0; r < w.roots().size(); ++r) {
    const TreeRoot& root = w.roots()[r];
    const std::int64_t end = std::min(root.begin + (std::int64_t{1} << root.level), spec.leaves.end);
    const Range columns = spec.cut.columns_of({root.begin, end});
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      for (std::int64_t n = 0; n < spec.rows; ++n) {
        double sum = 0;
        for (std::int64_t k = columns.begin - first; k < columns.end - first; ++k)
          sum += own(w).at(n, k) * x.row(t)[k];
        out.row(static_cast<std::int64_t>(r) * out.shape[1] + t)[n] = static_cast<float>(sum);
      }
    }
  }
}

void ReferenceBackend::rope(TensorView x, TensorView cos_sin, int head_dim) {
  const std::int64_t half = cos_sin.columns() / 2;
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    for (std::int64_t head = 0; head < x.columns() / head_dim; ++head) {
      float* at = x.row(t) + head * head_dim;
      for (std::int64_t i = 0; i < half; ++i) {
        const double low = at[i], high = at[i + half];
        const double cosine = cos_sin.row(t)[i], sine = cos_sin.row(t)[half + i];
        at[i] = static_cast<float>(low * cosine - high * sine);
        at[i + half] = static_cast<float>(high * cosine + low * sine);
      }
    }
  }
}

void ReferenceBackend::write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) {
  const KvShape& shape = cache.shape();
  for (const BatchSlice& slice : batch.slices) {
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::size_t at = own(cache).index(layer, slice, slice.first_position + i, 0);
      round_vectors(shape, k.row(slice.first_row + i), own(cache).keys.data() + at);
      round_vectors(shape, v.row(slice.first_row + i), own(cache).values.data() + at);
    }
  }
}

void ReferenceBackend::attend(TensorView out, TensorView q, const KvCache& kv, int layer, const Batch& batch,
                              const HeadMap& heads, const AttentionOptions& options) {
  const ReferenceCache& cache = own(kv);
  const auto dim = static_cast<std::size_t>(heads.head_dim);
  for (const BatchSlice& slice : batch.slices) {
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::int64_t position = std::int64_t{slice.first_position} + i;
      const std::int64_t first =
          options.window > 0 ? std::max<std::int64_t>(0, position + 1 - options.window) : 0;
      for (std::int64_t head = 0; head < heads.query_heads.size(); ++head) {
        const std::int64_t kv_head = (heads.query_heads.begin + head) / heads.group - heads.kv_heads.begin;
        const float* query = q.row(slice.first_row + i) + head * heads.head_dim;
        std::vector<double> scores;
        for (std::int64_t j = first; j <= position; ++j) {
          const std::size_t key = cache.index(layer, slice, j, kv_head);
          double dot = 0;
          for (std::size_t d = 0; d < dim; ++d) dot += query[d] * cache.keys[key + d];
          const double score = dot * options.scale, cap = options.soft_cap;
          scores.push_back(cap > 0 ? cap * std::tanh(score / cap) : score);
        }
        const double largest = *std::max_element(scores.begin(), scores.end());
        std::vector<double> sums(dim, 0.0);
        double total = 0;
        for (std::int64_t j = first; j <= position; ++j) {
          const double weight = std::exp(scores[static_cast<std::size_t>(j - first)] - largest);
          const std::size_t value = cache.index(layer, slice, j, kv_head);
          total += weight;
          for (std::size_t d = 0; d < dim; ++d) sums[d] += weight * cache.values[value + d];
        }
        float* to = out.row(slice.first_row + i) + head * heads.head_dim;
        for (std::size_t d = 0; d < dim; ++d) to[d] = static_cast<float>(sums[d] / total);
      }
    }
  }
}

void ReferenceBackend::silu_mul(TensorView out, TensorView gate_up) {
  const std::int64_t width = out.columns();
  for (std::int64_t t = 0; t < out.rows(); ++t) {
    for (std::int64_t i = 0; i < width; ++i) {
      const double gate = gate_up.row(t)[i];
      out.row(t)[i] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * gate_up.row(t)[width + i]);
    }
  }
}

void ReferenceBackend::gelu_mul(TensorView out, TensorView gate_up) {
  const std::int64_t width = out.columns();
  for (std::int64_t t = 0; t < out.rows(); ++t) {
    for (std::int64_t i = 0; i < width; ++i) {
      const double gate = gate_up.row(t)[i];
      const double inner = std::sqrt(2 / std::numbers::pi) * (gate + 0.044715 * gate * gate * gate);
      out.row(t)[i] = static_cast<float>(0.5 * gate * (1.0 + std::tanh(inner)) * gate_up.row(t)[width + i]);
    }
  }
}

void ReferenceBackend::add(TensorView h, TensorView x, TensorView bias, float factor) {
  for (std::int64_t t = 0; t < h.rows(); ++t)
    for (std::int64_t i = 0; i < h.columns(); ++i)
      h.row(t)[i] = static_cast<float>(
          double{h.row(t)[i]} + (x.row(t)[i] + (bias.empty() ? 0.0 : double{bias.row(0)[i]})) * factor);
}

void ReferenceBackend::scale(TensorView x, float factor) {
  for (std::int64_t t = 0; t < x.rows(); ++t)
    for (std::int64_t i = 0; i < x.columns(); ++i) x.row(t)[i] *= factor;
}

void ReferenceBackend::soft_cap(TensorView x, float cap) {
  for (std::int64_t t = 0; t < x.rows(); ++t)
    for (std::int64_t i = 0; i < x.columns(); ++i)
      x.row(t)[i] = static_cast<float>(cap * std::tanh(double{x.row(t)[i]} / cap));
}

void ReferenceBackend::clear(TensorView x) {
  for (std::int64_t t = 0; t < x.rows(); ++t) std::fill_n(x.row(t), x.columns(), 0.0f);
}

void ReferenceBackend::add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                                std::span<const float> weights) {
  std::vector<double> sums(static_cast<std::size_t>(out.rows() * out.columns()));
  const auto sum_at = [&](std::int64_t t, std::int64_t i) -> double& {
    return sums[static_cast<std::size_t>(t * out.columns() + i)];
  };
  for (std::int64_t t = 0; t < out.rows(); ++t)
    for (std::int64_t i = 0; i < out.columns(); ++i) sum_at(t, i) = out.row(t)[i];
  for (std::int64_t r = 0; r < x.rows(); ++r)
    for (std::int64_t i = 0; i < out.columns(); ++i)
      sum_at(rows[static_cast<std::size_t>(r)], i) +=
          double{weights[static_cast<std::size_t>(r)]} * x.row(r)[i];
  for (std::int64_t t = 0; t < out.rows(); ++t)
    for (std::int64_t i = 0; i < out.columns(); ++i) out.row(t)[i] = static_cast<float>(sum_at(t, i));
}

void ReferenceBackend::copy_pages(KvCache& kv, std::span<const PageId> from, std::span<const PageId> to) {
  ReferenceCache& cache = own(kv);
  const std::size_t numbers = ReferenceCache::page_numbers(cache.shape());
  for (std::size_t i = 0; i < from.size(); ++i) {
    for (auto* all : {&cache.keys, &cache.values}) {
      const auto begin =
          all->begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(from[i]) * numbers);
      const auto into = all->begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(to[i]) * numbers);
      std::copy(begin, begin + static_cast<std::ptrdiff_t>(numbers), into);
    }
  }
}

}  // namespace llm_tp

#include "model/adapters/merged_source.h"

#include <utility>
#include <vector>

#include "base/error.h"

namespace llm_tp {

MergedSource::MergedSource(std::unique_ptr<WeightSource> base, AdapterFiles adapter)
    : base_(std::move(base)), adapter_(std::move(adapter)) {
  for (const AdapterModule& module : adapter_.modules()) {
    const auto info = base_->find(module.key);
    if (info && is_quantised(info->dtype))
      throw Error(ExitCode::kBadData, info->name + " is quantised (" + std::string(name_of(info->dtype)) +
                                          "): an adapter can be merged into f32, f16 and bf16 weights alone; "
                                          "use --use-adapter instead of --merge-adapter");
  }
}

void MergedSource::read(WeightKey key, Range rows, Range columns, std::byte* out) const {
  base_->read(key, rows, columns, out);
  const AdapterModule* module = adapter_.find(key);
  if (module == nullptr || rows.empty() || columns.empty()) return;
  const DType dtype = base_->find(key)->dtype;
  const auto width = static_cast<std::size_t>(columns.size()), rank = static_cast<std::size_t>(module->rank);
  std::vector<float> a(rank * width), b(static_cast<std::size_t>(rows.size()) * rank), row(width);
  std::vector<double> sum(width);
  adapter_.read(module->a, {0, module->rank}, columns, a.data());
  adapter_.read(module->b, rows, {0, module->rank}, b.data());
  const std::int64_t bytes = row_bytes(dtype, columns.size());
  auto* const floats = reinterpret_cast<std::byte*>(row.data());
  for (std::int64_t r = 0; r < rows.size(); ++r) {
    std::byte* const stored = out + r * bytes;
    convert_row(dtype, stored, DType::kF32, floats, columns.size());
    sum.assign(width, 0.0);
    for (std::size_t k = 0; k < rank; ++k) {
      const double factor = static_cast<double>(b[static_cast<std::size_t>(r) * rank + k]);
      for (std::size_t c = 0; c < width; ++c) sum[c] += factor * static_cast<double>(a[k * width + c]);
    }
    for (std::size_t c = 0; c < width; ++c)
      row[c] = static_cast<float>(static_cast<double>(row[c]) + static_cast<double>(module->scale) * sum[c]);
    convert_row(DType::kF32, floats, dtype, stored, columns.size());
  }
}

}  // namespace llm_tp

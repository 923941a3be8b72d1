#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/quantised/matrix.h"

namespace {

using llm_tp::QuantisationConfig;
using llm_tp::StoredTensor;

/// Any JSON, as quantization_config.
QuantisationConfig any_config(FuzzedDataProvider& in) {
  const auto value = nlohmann::json::parse(in.ConsumeRandomLengthString(400), nullptr, false);
  if (!value.is_discarded()) return QuantisationConfig::from_json(value, "fuzz");
  QuantisationConfig config;
  config.where = "fuzz";
  config.method = static_cast<QuantisationConfig::Method>(in.ConsumeIntegralInRange(0, 3));
  config.bits = in.ConsumeBool() ? 4 : 8;
  config.group = 32 * in.ConsumeIntegralInRange(0, 4);
  config.block_rows = config.block_columns = 32 * in.ConsumeIntegralInRange(0, 2);
  config.zeros_less_one = in.ConsumeBool();
  return config;
}

/// Tensors of a module with any shapes, whose bytes are as many as their shapes and dtypes ask for.
struct Tensors {
  std::map<std::string, StoredTensor> by_name;
  std::map<std::string, std::vector<std::byte>> bytes;

  explicit Tensors(FuzzedDataProvider& in) {
    for (const char* ending :
         {"qweight", "qzeros", "scales", "g_idx", "weight", "weight_packed", "weight_scale",
          "weight_scale_inv", "weight_zero_point", "weight_shape", "weight_g_idx"}) {
      if (!in.ConsumeBool()) continue;
      const auto [dtype, size] = in.PickValueInArray<std::pair<const char*, std::size_t>>(
          {{"I32", 4}, {"F16", 2}, {"F32", 4}, {"F8_E4M3", 1}, {"I8", 1}, {"I64", 8}});
      StoredTensor tensor{ending, dtype, {}, {}};
      std::size_t elements = 1;
      for (int d = in.ConsumeIntegralInRange(0, 3); d > 0; --d) {
        tensor.shape.push_back(in.ConsumeIntegralInRange(0, 96));
        elements *= static_cast<std::size_t>(tensor.shape.back());
      }
      if (elements > 20000) continue;
      std::vector<std::byte>& data = bytes[ending];
      data.resize(elements * size);
      const auto some = in.ConsumeBytes<std::uint8_t>(std::min<std::size_t>(data.size(), 64));
      for (std::size_t i = 0; i < data.size() && !some.empty(); ++i)
        data[i] = std::byte{some[i % some.size()]};
      tensor.data = data;
      by_name.emplace(std::string("m.") + ending, tensor);
    }
  }
};

}  // namespace

/// Tensors of any shapes are either a matrix, all of which can be read, or an Error kBadData.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider in(data, size);
  try {
    const QuantisationConfig config = any_config(in);
    const Tensors tensors(in);
    const auto find = [&](const std::string& name) -> std::optional<StoredTensor> {
      const auto at = tensors.by_name.find(name);
      return at == tensors.by_name.end() ? std::nullopt : std::optional(at->second);
    };
    const auto matrix = llm_tp::make_quantised_matrix(config, find, "m");
    if (!matrix) return 0;
    const llm_tp::WeightInfo& info = matrix->info();
    std::vector<std::byte> row(static_cast<std::size_t>(llm_tp::row_bytes(info.dtype, info.columns)));
    for (std::int64_t r = 0; r < info.rows; ++r) matrix->read({r, r + 1}, {0, info.columns}, row.data());
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  return 0;
}

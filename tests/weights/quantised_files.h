#pragma once
#include <functional>
#include <map>
#include <random>

#include "test_files.h"
#include "weights/safetensors.h"

namespace llm_tp {

/// A folder with a config.json and a model.safetensors, made tensor by tensor; a name given again replaces.
class QuantisedFolder {
 public:
  explicit QuantisedFolder(std::string quantization_config) : config_(std::move(quantization_config)) {}

  template <class T>
  QuantisedFolder& tensor(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape,
                          const std::vector<T>& values) {
    tensors_[name] = {dtype, std::move(shape), raw_of(values)};
    return *this;
  }
  QuantisedFolder& without(const std::string& name) {
    tensors_.erase(name);
    return *this;
  }
  SafetensorsSource open() const {
    std::string header = "{", data;
    for (const auto& [name, tensor] : tensors_) {
      std::string shape;
      for (const std::int64_t extent : tensor.shape)
        shape += (shape.empty() ? "" : ",") + std::to_string(extent);
      header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + tensor.dtype +
                "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
                std::to_string(data.size() + tensor.data.size()) + "]}";
      data += tensor.data;
    }
    folder_.write("model.safetensors", safetensors_file(header + "}", data));
    folder_.write("config.json", "{\"quantization_config\": " + config_ + "}");
    return SafetensorsSource(folder_.path());
  }

 private:
  struct Tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string data;
  };
  std::string config_;
  std::map<std::string, Tensor> tensors_;
  TemporaryFolder folder_;
};

/// Numbers of a quantised matrix [rows, columns] that are exact in every step: scales are powers of two.
struct Integers {
  std::int64_t rows, columns, groups;
  int bits;
  std::vector<int> code, zero;  // [rows, columns], [rows, groups]; unsigned
  std::vector<float> scale;     // [rows, groups]
  std::vector<std::int32_t> group_of;

  Integers(std::int64_t n, std::int64_t k, std::int64_t g, int b, int least_zero, int most_zero)
      : rows(n), columns(k), groups(g), bits(b) {
    std::mt19937 random(11);
    const auto draw = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };
    for (std::int64_t i = 0; i < n * k; ++i) code.push_back(draw(1 << b));
    for (std::int64_t i = 0; i < n * g; ++i) {
      zero.push_back(least_zero + draw(most_zero - least_zero + 1));
      scale.push_back(std::ldexp(1.0f, -draw(8)));
    }
    for (std::int64_t i = 0; i < k; ++i) group_of.push_back(static_cast<std::int32_t>(i / (k / g)));
  }
  std::vector<float> numbers() const {
    std::vector<float> w;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::size_t>(r * groups + group_of[static_cast<std::size_t>(k)]);
        w.push_back(scale[at] *
                    static_cast<float>(code[static_cast<std::size_t>(r * columns + k)] - zero[at]));
      }
    return w;
  }
  using Value = std::function<int(std::int64_t line, std::int64_t i)>;
  /// Words of 32 / bits fields each: word (line, j) holds value(line, 32 / bits * j + field).
  std::vector<std::uint32_t> words(std::int64_t lines, std::int64_t line_fields, const Value& value) const {
    const std::int64_t n = 32 / bits;
    std::vector<std::uint32_t> out;
    for (std::int64_t line = 0; line < lines; ++line)
      for (std::int64_t j = 0; j < line_fields / n; ++j) {
        std::uint32_t word = 0;
        for (std::int64_t f = 0; f < n; ++f)
          word |= static_cast<std::uint32_t>(value(line, j * n + f)) << (f * bits);
        out.push_back(word);
      }
    return out;
  }
  int code_at(std::int64_t row, std::int64_t column) const {
    return code[static_cast<std::size_t>(row * columns + column)];
  }
  int zero_at(std::int64_t row, std::int64_t group) const {
    return zero[static_cast<std::size_t>(row * groups + group)];
  }
  /// [groups, rows], as GPTQ and AWQ have them, and f16.
  std::vector<std::uint16_t> transposed_scales() const {
    std::vector<std::uint16_t> out;
    for (std::int64_t g = 0; g < groups; ++g)
      for (std::int64_t r = 0; r < rows; ++r)
        out.push_back(f32_to_f16(scale[static_cast<std::size_t>(r * groups + g)]));
    return out;
  }
};

inline const WeightKey kUpKey{WeightRole::kUp, 0};
inline const std::string kUpModule = "model.layers.0.mlp.up_proj";

/// GPTQ as AutoGPTQ writes it; `less`: what its zero points are stored without.
inline void add_gptq(QuantisedFolder& folder, const Integers& m, int less,
                     const std::string& module = kUpModule) {
  const std::int64_t n = 32 / m.bits;
  // A word holds neighbouring columns of one row: [columns / n, rows].
  std::vector<std::uint32_t> codes;
  for (std::int64_t k = 0; k < m.columns; k += n)
    for (std::int64_t r = 0; r < m.rows; ++r) {
      std::uint32_t word = 0;
      for (std::int64_t f = 0; f < n; ++f)
        word |= static_cast<std::uint32_t>(m.code_at(r, k + f)) << (f * m.bits);
      codes.push_back(word);
    }
  folder.tensor(module + ".qweight", "I32", {m.columns / n, m.rows}, codes);
  folder.tensor(module + ".qzeros", "I32", {m.groups, m.rows / n},
                m.words(m.groups, m.rows, [&](auto g, auto r) { return m.zero_at(r, g) - less; }));
  folder.tensor(module + ".scales", "F16", {m.groups, m.rows}, m.transposed_scales());
  folder.tensor(module + ".g_idx", "I32", {m.columns}, m.group_of);
}

}  // namespace llm_tp

#pragma once
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "model/model_shape.h"

namespace llm_tp {

/// The tensors of a small random LoRA adapter in f32, to be spoilt and written as a PEFT folder.
struct PeftFolder {
  nlohmann::json config;
  struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> tensors;

  /// For every matrix of the shape whose module ends with one of `targets`.
  PeftFolder(const ModelShape& shape, const std::vector<std::string>& targets, std::int64_t rank,
             unsigned seed) {
    config = {{"peft_type", "LORA"},    {"task_type", "CAUSAL_LM"},  {"r", rank},
              {"lora_alpha", 2 * rank}, {"target_modules", targets}, {"bias", "none"},
              {"use_dora", false},      {"modules_to_save", nullptr}};
    std::mt19937 source(seed);
    for (const ModelTensor& tensor : tensors_of(shape)) {
      std::string name = huggingface_name(tensor.key, shape.style.names);
      if (is_vector(tensor.key.role)) continue;
      name.resize(name.size() - std::string(".weight").size());
      bool wanted = false;
      for (const std::string& target : targets) wanted = wanted || name.ends_with("." + target);
      if (!wanted) continue;
      add("base_model.model." + name + ".lora_A.weight", rank, tensor.columns, source);
      add("base_model.model." + name + ".lora_B.weight", tensor.rows, rank, source);
    }
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "adapter_config.json") << config.dump(1);
    nlohmann::json header = nlohmann::json::object();
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      const std::size_t bytes = tensor.values.size() * sizeof(float);
      header[name] = {
          {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {data.size(), data.size() + bytes}}};
      data.append(reinterpret_cast<const char*>(tensor.values.data()), bytes);
    }
    const std::string text = header.dump();
    const std::uint64_t length = text.size();
    std::ofstream file(folder / "adapter_model.safetensors", std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof length);
    file << text << data;
  }

 private:
  void add(const std::string& name, std::int64_t rows, std::int64_t columns, std::mt19937& source) {
    Tensor tensor{{rows, columns}, {}};
    const double spread = 0.5 / std::sqrt(static_cast<double>(columns));
    for (std::int64_t i = 0; i < rows * columns; ++i)
      tensor.values.push_back(
          static_cast<float>(spread * (static_cast<double>(source() % 2001) / 1000.0 - 1.0)));
    tensors.emplace(name, std::move(tensor));
  }
};

}  // namespace llm_tp

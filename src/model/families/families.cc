#include <array>

#include "model/families/family.h"
#include "weights/gguf.h"

namespace llm_tp {

std::span<const Family* const> all_families() {
  static constexpr std::array<const Family*, 13> kAll{&kLlama, &kMistral,  &kMixtral, &kQwen2,   &kQwen2Moe,
                                                      &kQwen3, &kQwen3Moe, &kPhi3,    &kSmolLm3, &kGranite,
                                                      &kOlmo2, &kGemma2,   &kGemma3};
  return kAll;
}

const Family* family_of_architecture(std::string_view architecture) {
  for (const Family* family : all_families())
    if (family->architecture == architecture) return family;
  return nullptr;
}

const Family* family_of_gguf(std::string_view architecture, bool has_experts) {
  for (const Family* family : all_families())
    if (!family->gguf.empty() && family->gguf == architecture && family->has_experts == has_experts)
      return family;
  return nullptr;
}

std::vector<LayerShape>& every_layer(ModelShape& shape) {
  shape.each_layer.resize(static_cast<std::size_t>(shape.layers));
  return shape.each_layer;
}

std::int64_t window_of(const ConfigKeys& keys, std::int64_t otherwise) {
  return keys.absent("sliding_window") ? otherwise : keys.integer("sliding_window").value_or(0);
}

void set_window(ModelShape& shape, std::int64_t window) {
  for (LayerShape& layer : every_layer(shape)) layer.window = window;
}

void set_alternating_windows(ModelShape& shape, std::int64_t window, std::int64_t period) {
  std::int64_t number = 0;
  for (LayerShape& layer : every_layer(shape)) layer.window = ++number % period == 0 ? 0 : window;
}

double gguf_real(const GgufFile& file, const char* name, double otherwise) {
  return file.real(std::string(file.string("general.architecture").value_or("")) + "." + name)
      .value_or(otherwise);
}
std::int64_t gguf_integer(const GgufFile& file, const char* name, std::int64_t otherwise) {
  return file.integer(std::string(file.string("general.architecture").value_or("")) + "." + name)
      .value_or(otherwise);
}

}  // namespace llm_tp

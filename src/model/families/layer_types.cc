#include <nlohmann/json.hpp>

#include "model/families/family.h"

namespace llm_tp {

bool read_layer_types(const ConfigKeys& keys, ModelShape& shape, std::int64_t window) {
  const auto* types = keys.find("layer_types");
  if (types == nullptr) return false;
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) != shape.layers)
    keys.refuse("layer_types is no list of num_hidden_layers " + std::to_string(shape.layers) + " texts");
  std::size_t i = 0;
  for (LayerShape& layer : every_layer(shape)) {
    const auto& entry = (*types)[i++];
    const std::string type = entry.is_string() ? entry.get<std::string>() : std::string();
    if (type == "sliding_attention")
      layer.window = window;
    else if (type == "full_attention")
      layer.window = 0;
    else
      keys.refuse("layer_types holds " + entry.dump() +
                  "; supported are \"full_attention\" and \"sliding_attention\"");
  }
  return true;
}

}  // namespace llm_tp

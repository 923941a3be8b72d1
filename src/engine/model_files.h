#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/adapter_id.h"
#include "base/ids.h"
#include "engine/generation_defaults.h"
#include "model/adapters/files.h"
#include "model/model_shape.h"
#include "text/tokenizer.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// An adapter as the configuration names it.
struct AdapterChoice {
  std::string name, folder;
};

/// A model as named by --model: a Hugging Face folder, a .gguf file, or dummy:FOLDER. Opened from headers
/// alone.
struct ModelFiles {
  std::string name;
  ModelShape shape;
  std::unique_ptr<WeightSource> weights;
  std::unique_ptr<Tokenizer> tokenizer;  // nullptr where the model has none, and where it was not asked for
  GenerationDefaults generation;
  std::vector<TokenId>
      end_ids;  // of the configuration, generation_config.json and the tokenizer, without repeats
  struct Adapter {
    std::string name;
    AdapterFiles files;
  };
  std::vector<Adapter> adapters;  // by AdapterId

  /// Errors: kUsage for an empty name; kMissingFile; kBadData.
  static ModelFiles open(const std::string& model, bool with_tokenizer);
  /// Opens adapters for this model; the one called `merged` becomes part of its weights, unless that is
  /// empty. Errors: kUsage for a name that comes twice or is not there; those of AdapterFiles and
  /// MergedSource.
  void open_adapters(const std::vector<AdapterChoice>& choices, const std::string& merged);
  /// Errors: kUsage for an unknown name.
  AdapterId adapter_called(const std::string& name) const;
  /// Tokenizer of a folder or .gguf that may lack everything else. Errors: kMissingFile where there is none.
  static std::unique_ptr<Tokenizer> open_tokenizer(const std::string& model);
};

}  // namespace llm_tp

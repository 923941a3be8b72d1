#include "engine/model_files.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "model/adapters/merged_source.h"
#include "weights/dummy.h"
#include "weights/gguf_source.h"
#include "weights/quantised/config.h"
#include "weights/safetensors.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;

void add_once(std::vector<TokenId>& ids, TokenId id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

std::unique_ptr<WeightSource> dummy_weights(const ModelShape& shape) {
  std::vector<DummyTensor> tensors;
  for (const ModelTensor& tensor : tensors_of(shape))
    tensors.push_back({tensor.key, tensor.rows, tensor.columns});
  return std::make_unique<DummySource>(tensors, shape.checkpoint_dtype);
}

std::optional<TokenId> id_of(const GgufFile& file, const char* key) {
  const auto value = file.integer(key);
  if (!value) return std::nullopt;
  if (*value < 0 || *value > std::numeric_limits<TokenId>::max())
    throw Error(ExitCode::kBadData,
                file.file_name() + ": " + key + " is " + std::to_string(*value) + ", wanted a token id");
  return static_cast<TokenId>(*value);
}

GgufVocabulary vocabulary_of(const GgufFile& file) {
  GgufVocabulary v;
  const auto text = [&](const char* key) { return std::string(file.string(key).value_or("")); };
  const auto id = [&](const char* key) { return id_of(file, key); };
  v.model = text("tokenizer.ggml.model");
  v.pre = text("tokenizer.ggml.pre");
  const auto strings = [&](const char* key) {
    std::vector<std::string> list;
    if (const auto found = file.strings(key)) list.assign(found->begin(), found->end());
    return list;
  };
  v.tokens = strings("tokenizer.ggml.tokens");
  v.merges = strings("tokenizer.ggml.merges");
  if (const auto scores = file.floats("tokenizer.ggml.scores"))
    v.scores.assign(scores->begin(), scores->end());
  if (const auto types = file.integers("tokenizer.ggml.token_type"))
    v.types.assign(types->begin(), types->end());
  v.bos = id("tokenizer.ggml.bos_token_id");
  v.eos = id("tokenizer.ggml.eos_token_id");
  v.eot = id("tokenizer.ggml.eot_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.add_bos = file.boolean("tokenizer.ggml.add_bos_token");
  v.add_eos = file.boolean("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  if (const auto source = file.string("tokenizer.chat_template")) v.chat_template = std::string(*source);
  return v;
}

bool has_vocabulary(const GgufFile& file) {
  const auto model = file.string("tokenizer.ggml.model");
  return model && *model != "no_vocab" && *model != "none";
}

bool is_gguf(const fs::path& path) { return fs::is_regular_file(path); }

ModelFiles open_gguf(const std::string& name, bool with_tokenizer) {
  ModelFiles files;
  const auto file = GgufFile::open(name);
  files.shape = ModelShape::from_gguf(*file);
  files.weights = std::make_unique<GgufSource>(file, files.shape.interleaved_heads);
  if (with_tokenizer && has_vocabulary(*file)) files.tokenizer = make_tokenizer(vocabulary_of(*file));
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (const auto id = id_of(*file, key)) add_once(files.end_ids, *id);
  return files;
}

ModelFiles open_folder(const fs::path& folder, bool dummy, bool with_tokenizer) {
  ModelFiles files;
  files.shape = ModelShape::from_config(folder / "config.json");
  if (dummy && QuantisationConfig::from_folder(folder))
    throw Error(ExitCode::kBadData, (folder / "config.json").string() +
                                        ": quantization_config: dummy weights are not quantised like a "
                                        "checkpoint's; remove the key and give --dtype");
  if (dummy)
    files.weights = dummy_weights(files.shape);
  else
    files.weights = std::make_unique<SafetensorsSource>(folder, files.shape.style.names);
  if (dummy) return files;
  if (with_tokenizer) files.tokenizer = load_tokenizer(folder.string());
  files.generation = GenerationDefaults::read(folder.string());
  const auto configured = token_ids_of((folder / "config.json").string(), "eos_token_id");
  for (TokenId id : files.generation.eos_token_ids.empty() ? configured : files.generation.eos_token_ids)
    add_once(files.end_ids, id);
  return files;
}

}  // namespace

ModelFiles ModelFiles::open(const std::string& model, bool with_tokenizer) {
  constexpr std::string_view kDummy = "dummy:";
  if (model.empty())
    throw Error(ExitCode::kUsage,
                "no model: give --model PATH, a Hugging Face folder, a .gguf file or dummy:FOLDER");
  const bool dummy = model.starts_with(kDummy);
  const fs::path path = dummy ? model.substr(kDummy.size()) : model;
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw Error(ExitCode::kMissingFile,
                path.string() + ": no such model; give a Hugging Face folder, a .gguf file or dummy:FOLDER");
  ModelFiles files =
      is_gguf(path) ? open_gguf(path.string(), with_tokenizer) : open_folder(path, dummy, with_tokenizer);
  files.name = model;
  if (files.tokenizer) {
    for (TokenId id : files.tokenizer->end_ids()) add_once(files.end_ids, id);
    if (files.tokenizer->vocabulary_size() > files.shape.vocabulary)
      throw Error(ExitCode::kBadData, path.string() + ": the tokenizer has " +
                                          std::to_string(files.tokenizer->vocabulary_size()) +
                                          " tokens, the model only " +
                                          std::to_string(files.shape.vocabulary));
  }
  for (TokenId id : files.end_ids)
    if (id < 0 || id >= files.shape.vocabulary)
      throw Error(ExitCode::kBadData, path.string() + ": the end token " + std::to_string(id) +
                                          " is outside the vocabulary of " +
                                          std::to_string(files.shape.vocabulary));
  return files;
}

void ModelFiles::open_adapters(const std::vector<AdapterChoice>& choices, const std::string& merged) {
  bool found = merged.empty();
  for (const AdapterChoice& choice : choices) {
    if (std::count_if(choices.begin(), choices.end(),
                      [&](const AdapterChoice& other) { return other.name == choice.name; }) > 1)
      throw Error(ExitCode::kUsage, "adapter: two are called " + choice.name + "; give each its own name");
    AdapterFiles files(choice.folder, shape);
    if (choice.name == merged) {
      weights = std::make_unique<MergedSource>(std::move(weights), std::move(files));
      found = true;
    } else {
      adapters.push_back({choice.name, std::move(files)});
    }
  }
  if (!found)
    throw Error(ExitCode::kUsage,
                "merge_adapter: no adapter is called " + merged + "; give --adapter " + merged + "=FOLDER");
}

AdapterId ModelFiles::adapter_called(const std::string& wanted) const {
  const auto at = std::find_if(adapters.begin(), adapters.end(),
                               [&](const Adapter& adapter) { return adapter.name == wanted; });
  if (at == adapters.end())
    throw Error(ExitCode::kUsage,
                "no adapter is called " + wanted + "; give --adapter " + wanted + "=FOLDER");
  return static_cast<AdapterId>(at - adapters.begin());
}

std::unique_ptr<Tokenizer> ModelFiles::open_tokenizer(const std::string& model) {
  if (model.empty())
    throw Error(ExitCode::kUsage,
                "no model: give --model PATH, a folder with tokenizer files or a .gguf file");
  std::error_code ignored;
  if (!fs::exists(model, ignored)) throw Error(ExitCode::kMissingFile, model + ": no such file or folder");
  std::unique_ptr<Tokenizer> tokenizer;
  if (is_gguf(model)) {
    const auto file = GgufFile::open(model);
    if (has_vocabulary(*file)) tokenizer = make_tokenizer(vocabulary_of(*file));
  } else {
    tokenizer = load_tokenizer(model);
  }
  if (!tokenizer)
    throw Error(ExitCode::kMissingFile,
                model + ": has no tokenizer (tokenizer.json, tokenizer.model, or a GGUF vocabulary)");
  return tokenizer;
}

}  // namespace llm_tp

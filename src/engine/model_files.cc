#include "engine/model_files.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.h"
#include "base/json_file.h"
#include "weights/dummy.h"
#include "weights/gguf_source.h"
#include "weights/quantised/config.h"
#include "weights/safetensors.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void add_once(std::vector<TokenId>& ids, TokenId id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

/// An absent file is an empty object.
json object_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json_object(path) : json::object();
}

std::vector<TokenId> ids_of(const json& object, const char* key, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return {};
  std::vector<TokenId> ids;
  for (const json& id : at->is_array() ? *at : json::array({*at})) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<TokenId>::max())
      throw Error(ExitCode::kBadData, where + ": " + key + " is " + at->dump() + ", wanted token ids");
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

/// A number of generation_config.json; T is double or std::int32_t.
template <class T>
std::optional<T> number_of(const json& object, const char* key, T low, T high, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return std::nullopt;
  if (!(std::is_integral_v<T> ? at->is_number_integer() : at->is_number()) || *at < low || *at > high)
    throw Error(ExitCode::kBadData, where + ": " + key + " is " + at->dump() + ", wanted a number from " +
                                        json(low).dump() + " to " + json(high).dump());
  return at->get<T>();
}

GenerationDefaults generation_defaults(const fs::path& folder) {
  const std::string where = (folder / "generation_config.json").string();
  const json object = object_if_there(where);
  GenerationDefaults defaults;
  if (const auto at = object.find("do_sample"); at != object.end() && !at->is_null()) {
    if (!at->is_boolean())
      throw Error(ExitCode::kBadData, where + ": do_sample is " + at->dump() + ", wanted true or false");
    defaults.do_sample = at->get<bool>();
  }
  defaults.temperature = number_of<double>(object, "temperature", 0, 100, where);
  defaults.top_p = number_of<double>(object, "top_p", 0, 1, where);
  defaults.top_k =
      number_of<std::int32_t>(object, "top_k", 0, std::numeric_limits<std::int32_t>::max(), where);
  defaults.eos_token_ids = ids_of(object, "eos_token_id", where);
  return defaults;
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
  files.generation = generation_defaults(folder);
  const auto configured =
      ids_of(object_if_there(folder / "config.json"), "eos_token_id", (folder / "config.json").string());
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

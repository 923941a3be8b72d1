#include "config/load_config.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "config/parse_value.h"
#include "config/yaml_tree.h"

namespace llm_tp {
namespace {

constexpr std::string_view kEnvironmentPrefix = "LLM_TP_";
constexpr const char* kApiKeyVariable = "LLM_TP_API_KEY";

Origin file_origin(const std::string& name, TextPosition position) {
  return {OriginKind::kFile, place_text(name, position)};
}

/// Sets keys of one resolved config and keeps who set them.
class Resolver {
 public:
  Resolver() {
    for (const KeyInfo& key : key_table()) resolved_.origins[key.name] = Origin{};
  }

  void apply_yaml(std::string_view text, const std::string& name) {
    const YamlNode root = parse_yaml(text, name);
    if (root.kind == YamlNode::Kind::kNull) return;
    if (root.kind != YamlNode::Kind::kMapping)
      throw Error(ExitCode::kConfig,
                  place_text(name, root.position) + ": found no keys, wanted lines such as \"model: PATH\"");
    apply_mapping(root, "", name);
  }

  void apply_sets(const std::vector<std::string>& sets) {
    const Origin origin{OriginKind::kSet, "--set"};
    for (const std::string& set : sets) {
      const std::size_t equals = set.find('=');
      if (equals == std::string::npos || equals == 0)
        throw Error(ExitCode::kUsage, "--set: found " + in_quotes(set) + ", wanted section.key=value");
      apply_text(set.substr(0, equals), set.substr(equals + 1), origin);
    }
  }

  void apply_environment(const std::vector<std::string>& environment) {
    for (const std::string& entry : environment) {
      const std::size_t equals = entry.find('=');
      if (!entry.starts_with(kEnvironmentPrefix) || equals == std::string::npos) continue;
      const std::string name = entry.substr(0, equals);
      if (name == kApiKeyVariable) continue;
      const KeyInfo* found = nullptr;
      for (const KeyInfo& key : key_table())
        if (key.environment_name() == name) found = &key;
      if (found == nullptr) {
        resolved_.warnings.push_back(unknown_variable(name));
      } else {
        apply_text(found->name, entry.substr(equals + 1), {OriginKind::kEnvironment, name});
      }
    }
  }

  void apply_flags(const std::vector<std::pair<std::string, std::string>>& flags) {
    for (const auto& [name, value] : flags) {
      const KeyInfo* key = find_key(name);
      const std::string flag = key == nullptr || key->flag.empty() ? name : key->flag;
      apply_text(name, value, {OriginKind::kFlag, "flag " + flag});
    }
  }

  ResolvedConfig take() {
    settle_prompt();
    check_token_limits();
    return std::move(resolved_);
  }

 private:
  Origin& origin_of(const std::string& name) { return resolved_.origins.at(name); }

  void apply_text(const std::string& name, const std::string& text, const Origin& origin) {
    const KeyInfo* key = find_key(name);
    if (key == nullptr) throw Error(origin.code(), origin.text + ": " + unknown_key_message("", name));
    std::vector<std::string> items = items_of(*key, text);
    if (key->is_repeatable() && origin_of(name).kind == origin.kind) {
      auto earlier = std::get<std::vector<std::string>>(key->get(resolved_.config));
      items.insert(items.begin(), earlier.begin(), earlier.end());
    }
    apply_items(*key, items, {}, origin, text);
  }

  /// `places` are the items' own, where they have some.
  void apply_items(const KeyInfo& key, const std::vector<std::string>& items,
                   const std::vector<Origin>& places, const Origin& origin, const std::string& whole) {
    if (const std::optional<Refusal> refusal = key.set(resolved_.config, items)) {
      const std::size_t item = refusal->item;
      throw refused_value(key, in_quotes(item < items.size() ? items[item] : whole), refusal->hint,
                          item < places.size() ? places[item] : origin);
    }
    origin_of(key.name) = origin;
  }

  void apply_mapping(const YamlNode& mapping, const std::string& section, const std::string& file) {
    std::map<std::string, TextPosition> seen;
    for (std::size_t i = 0; i < mapping.keys.size(); ++i) {
      const YamlNode& key = mapping.keys[i];
      const YamlNode& value = mapping.items[i];
      const Origin at = file_origin(file, key.position);
      if (key.kind != YamlNode::Kind::kScalar) throw Error(at.code(), at.text + ": wanted the name of a key");
      const auto [first, is_new] = seen.emplace(key.text, key.position);
      const std::string name = section.empty() ? key.text : section + "." + key.text;
      if (!is_new)
        throw Error(at.code(), at.text + ": duplicate key " + in_quotes(name) + ", first set in line " +
                                   std::to_string(first->second.line) + "; keep one of them");
      if (section.empty() && is_section(key.text)) {
        apply_section(key.text, value, file);
      } else if (const KeyInfo* info =
                     section.empty() && key.text.find('.') != std::string::npos ? nullptr : find_key(name)) {
        apply_node(*info, value, at, file);
      } else if (find_key(name) != nullptr) {
        const std::size_t dot = key.text.find('.');
        throw Error(at.code(), at.text + ": found the key " + in_quotes(name) + "; write " +
                                   in_quotes(key.text.substr(dot + 1)) + " inside the section " +
                                   in_quotes(key.text.substr(0, dot)));
      } else {
        throw Error(at.code(), at.text + ": " + unknown_key_message(section, key.text));
      }
    }
  }

  void apply_section(const std::string& section, const YamlNode& value, const std::string& file) {
    if (value.kind == YamlNode::Kind::kNull) return;  // a section whose keys are all commented out
    if (value.kind != YamlNode::Kind::kMapping)
      throw Error(ExitCode::kConfig,
                  place_text(file, value.position) + ": " + section +
                      ": found a plain value or a list, wanted the keys of the section, indented");
    apply_mapping(value, section, file);
  }

  /// Origins are where the value stands: a wrong one is found there.
  void apply_node(const KeyInfo& key, const YamlNode& value, const Origin& key_at, const std::string& file) {
    const Origin at = file_origin(file, value.position);
    switch (value.kind) {
      case YamlNode::Kind::kNull:
        throw refused_value(key, "nothing", "leave the key out to have its default", key_at);
      case YamlNode::Kind::kMapping:
        throw refused_value(key, "a section", "", at);
      case YamlNode::Kind::kScalar:
        check_quotes(key, value, at);
        apply_items(key, value.quoted ? std::vector<std::string>{value.text} : items_of(key, value.text), {},
                    at, value.text);
        return;
      case YamlNode::Kind::kSequence:
        break;
    }
    if (!key.is_list()) throw refused_value(key, "a list", "give one value", at);
    std::vector<std::string> items;
    std::vector<Origin> places;
    for (const YamlNode& item : value.items) {
      places.push_back(file_origin(file, item.position));
      if (item.kind != YamlNode::Kind::kScalar)
        throw refused_value(
            key, item.kind == YamlNode::Kind::kNull ? "an empty item" : "a list or section in the list", "",
            places.back());
      check_quotes(key, item, places.back());
      items.push_back(item.text);
    }
    apply_items(key, items, places, at, "[]");
  }

  static void check_quotes(const KeyInfo& key, const YamlNode& value, const Origin& at) {
    const bool is_text = key.type == KeyType::kText || key.type == KeyType::kTextList ||
                         key.type == KeyType::kChoice || key.type == KeyType::kBytes;
    if (value.quoted && !is_text)
      throw refused_value(key, "the text " + in_quotes(value.text), "write it without quotes", at);
  }

  static std::string unknown_variable(const std::string& name) {
    std::string nearest;
    int best = 4;
    for (const KeyInfo& key : key_table()) {
      const int distance = name.size() > 80 ? best : edit_distance(name, key.environment_name());
      if (distance < best) {
        best = distance;
        nearest = key.environment_name();
      }
    }
    return "the variable " + in_quotes(name) + " sets no key" +
           (nearest.empty() ? std::string("; docs/config.md lists them") : "; did you mean " + nearest + "?");
  }

  void settle_prompt() {
    GenerationConfig& generation = resolved_.config.generation;
    if (!generation.prompt || !generation.prompt_file) return;
    Origin& prompt = origin_of("generation.prompt");
    Origin& file = origin_of("generation.prompt_file");
    if (prompt.kind == file.kind)
      throw Error(prompt.code(), file.text + ": generation.prompt_file: found a prompt as well (" +
                                     prompt.text + "), wanted one of the two; take one out");
    if (prompt.kind < file.kind) {
      generation.prompt.reset();
      prompt = Origin{};
    } else {
      generation.prompt_file.reset();
      file = Origin{};
    }
  }

  void check_token_limits() {
    const GenerationConfig& generation = resolved_.config.generation;
    if (!generation.min_tokens || !generation.max_tokens || *generation.min_tokens <= *generation.max_tokens)
      return;
    const Origin& low = origin_of("generation.min_tokens");
    const Origin& high = origin_of("generation.max_tokens");
    const Origin& stronger = low.kind >= high.kind ? low : high;
    throw Error(stronger.code(), stronger.text + ": generation.min_tokens: found " +
                                     std::to_string(*generation.min_tokens) + " (" + low.text +
                                     "), wanted no more than generation.max_tokens, which is " +
                                     std::to_string(*generation.max_tokens) + " (" + high.text + ")");
  }

  ResolvedConfig resolved_;
};

/// The file's bytes, one more than allowed at most: /dev/zero must end too.
std::string read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(ExitCode::kMissingFile,
                "configuration " + in_quotes(path.string()) + ": found a folder, wanted a YAML file");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error(ExitCode::kMissingFile, "configuration " + in_quotes(path.string()) +
                                            ": no such file or it cannot be read; check --config");
  std::string text(kMaxYamlBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad())
    throw Error(ExitCode::kIoError, "configuration " + in_quotes(path.string()) + ": reading it failed");
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace

ResolvedConfig load_config(const ConfigInputs& inputs) {
  Resolver resolver;
  if (inputs.file) resolver.apply_yaml(read_file(*inputs.file), inputs.file->string());
  resolver.apply_sets(inputs.sets);
  resolver.apply_environment(inputs.environment);
  resolver.apply_flags(inputs.flags);
  return resolver.take();
}

ResolvedConfig load_config_text(std::string_view yaml, const std::string& name) {
  Resolver resolver;
  resolver.apply_yaml(yaml, name);
  return resolver.take();
}

std::vector<std::string> process_environment() {
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (std::string_view(*entry).starts_with(kEnvironmentPrefix)) out.emplace_back(*entry);
  return out;
}

std::string api_key_of_environment() {
  const char* const key = std::getenv(kApiKeyVariable);
  return key != nullptr ? key : "";
}

}  // namespace llm_tp

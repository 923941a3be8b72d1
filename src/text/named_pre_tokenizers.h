#pragma once
#include <string>
#include <vector>

namespace llm_tp {

/// The regular expressions that a GGUF file's tokenizer.ggml.pre names, and what goes with them.
struct NamedPreTokenizer {
  std::vector<std::string> patterns;
  bool ignore_merges = false;
  bool nfc = false;
};
/// Errors: kBadData for a name that is not known.
NamedPreTokenizer named_pre_tokenizer(const std::string& name);
/// GPT-2's pattern, which "ByteLevel" stands for in tokenizer.json.
extern const char* const kGpt2Pattern;

}  // namespace llm_tp

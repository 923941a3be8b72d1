#include "text/named_pre_tokenizers.h"

#include <map>

#include "base/error.h"

namespace llm_tp {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The three forms of the pattern that came after GPT-2's: contractions in any case, letters with one sign
// before them, digits in runs of at most three or one, signs that keep the line ends after them.
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kHanAndHangul = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

const std::map<std::string, NamedPreTokenizer>& table() {
  static const std::map<std::string, NamedPreTokenizer> names = [] {
    const NamedPreTokenizer gpt2{{kGpt2Pattern}}, llama3{{kLlama3Pattern}, true},
        qwen2{{kQwen2Pattern}, false, true};
    const NamedPreTokenizer digits_then_gpt2{{R"(\p{N})", kGpt2Pattern}};
    std::map<std::string, NamedPreTokenizer> all;
    for (const char* name : {"gpt-2", "phi-2", "mpt", "olmo"}) all[name] = gpt2;
    for (const char* name : {"llama-bpe", "llama3", "llama-v3", "smaug-bpe"}) all[name] = llama3;
    for (const char* name : {"smollm", "starcoder", "refact", "command-r"}) all[name] = digits_then_gpt2;
    all["qwen2"] = qwen2;
    all["dbrx"] = {{kLlama3Pattern}};
    all["tekken"] = {{kTekkenPattern}, true};
    all["deepseek-coder"] = {{R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHanAndHangul, R"(\p{N})"}};
    // Letters with case; the model's own list of them is of one version of Unicode, the property is of
    // PCRE2's.
    all["deepseek-llm"] = {
        {R"([\r\n])", R"(\s?[\p{L&}]+)",
         R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)", R"(\s+$)",
         kHanAndHangul, R"(\p{N}+)"}};
    all["default"] = {{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"}};
    return all;
  }();
  return names;
}

}  // namespace

NamedPreTokenizer named_pre_tokenizer(const std::string& name) {
  const auto found = table().find(name);
  if (found != table().end()) return found->second;
  std::string known;
  for (const auto& [each, unused] : table()) known += (known.empty() ? "" : ", ") + each;
  throw Error(ExitCode::kBadData, "tokenizer.ggml.pre names the pre-tokenizer \"" + name.substr(0, 100) +
                                      "\", known are " + known +
                                      "; use the model's Hugging Face folder, or a file of another model");
}

}  // namespace llm_tp

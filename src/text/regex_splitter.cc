#include "text/regex_splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

struct Part {
  std::size_t begin, end;
  bool match;
};

struct FreePcre2 {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// What one thread needs to match; made once a thread, because a text has many short runs.
struct Scratch {
  std::unique_ptr<pcre2_match_data, FreePcre2> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreePcre2> stack{pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr)};
  std::unique_ptr<pcre2_match_context, FreePcre2> context{pcre2_match_context_create(nullptr)};
  Scratch() {
    if (!data || !stack || !context)
      throw Error(ExitCode::kOutOfMemory, "no memory for the pre-tokenizer's matcher");
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    pcre2_set_heap_limit(context.get(), 64 << 10);  // KiB
  }
};

}  // namespace

struct RegexSplitter::Compiled {
  std::string pattern;
  Options options;
  std::unique_ptr<pcre2_code, FreePcre2> code;
};

std::string with_unicode_spaces(std::string_view pattern) {
  static constexpr std::string_view kSpaces = "\\p{Z}\\x09-\\x0D\\x85";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out.append(in_class ? "" : "[").append(kSpaces).append(in_class ? "" : "]");
      } else if (next == 'S' && !in_class) {
        out.append("[^").append(kSpaces).append("]");
      } else {
        out.append({'\\', next});
      }
      continue;
    }
    if (pattern[i] == '[') in_class = true;
    if (pattern[i] == ']') in_class = false;
    out += pattern[i];
  }
  return out;
}

RegexSplitter::RegexSplitter(const std::string& pattern, Options options)
    : compiled_(std::make_unique<Compiled>()) {
  compiled_->pattern = pattern;
  compiled_->options = options;
  const std::string source = options.literal ? pattern : with_unicode_spaces(pattern);
  const std::uint32_t flags =
      PCRE2_UTF | (options.literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  int code = 0;
  PCRE2_SIZE at = 0;
  compiled_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), flags, &code, &at, nullptr));
  if (!compiled_->code) {
    throw Error(ExitCode::kBadData, "the pre-tokenizer's pattern `" + pattern.substr(0, 200) +
                                        "` does not compile: " + message_of(code) + " near byte " +
                                        std::to_string(at) + "; it must be a regular expression of PCRE2");
  }
  // Where there is no JIT on this processor the interpreter does the same, slower.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
}

RegexSplitter::RegexSplitter(RegexSplitter&&) noexcept = default;
RegexSplitter& RegexSplitter::operator=(RegexSplitter&&) noexcept = default;
RegexSplitter::~RegexSplitter() = default;

void RegexSplitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  thread_local const Scratch scratch;
  const Options& options = compiled_->options;
  std::vector<Part> parts;
  std::size_t done = 0;
  for (std::size_t at = 0; at <= text.size();) {
    // The caller has checked the UTF-8: checking it again at each match would make this quadratic.
    const int found =
        pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                    PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      throw Error(ExitCode::kBadData, "the pre-tokenizer's pattern `" + compiled_->pattern.substr(0, 200) +
                                          "` gave up on a text of " + std::to_string(text.size()) +
                                          " bytes: " + message_of(found));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.data.get());
    if (range[1] <= range[0]) {  // an empty match cuts nothing (or \K ran backwards)
      at = std::max(at, range[0]) + 1;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
      continue;
    }
    if (range[0] < done) break;  // \K or a lookbehind trick: never let pieces overlap
    if (range[0] > done) parts.push_back({done, range[0], false});
    parts.push_back({range[0], range[1], true});
    at = done = range[1];
  }
  if (done < text.size()) parts.push_back({done, text.size(), false});
  if (options.invert) {
    for (Part& part : parts) part.match = !part.match;
  }

  std::vector<Part> cut;
  for (const Part& part : parts) {
    Part* last = cut.empty() ? nullptr : &cut.back();
    switch (options.behavior) {
      case SplitBehavior::kIsolated:
        cut.push_back(part);
        break;
      case SplitBehavior::kRemoved:
        if (!part.match) cut.push_back(part);
        break;
      case SplitBehavior::kContiguous:
        if (last != nullptr && last->match == part.match) {
          last->end = part.end;
        } else {
          cut.push_back(part);
        }
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (part.match && last != nullptr && !last->match) {
          *last = {last->begin, part.end, true};
        } else {
          cut.push_back(part);
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (last != nullptr && last->match && !part.match) {
          *last = {last->begin, part.end, false};
        } else {
          cut.push_back(part);
        }
        break;
    }
  }
  for (const Part& part : cut) pieces.push_back(text.substr(part.begin, part.end - part.begin));
}

}  // namespace llm_tp

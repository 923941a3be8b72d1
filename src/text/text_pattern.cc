#include "text/text_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/oniguruma_syntax.h"

namespace llm_tp {
namespace {

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

std::size_t next_code_point(std::string_view text, std::size_t at) {
  do {
    ++at;
  } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

}  // namespace

struct TextPattern::Compiled {
  std::string pattern;
  std::unique_ptr<pcre2_code, FreePcre2> code;
};

TextPattern::TextPattern(const std::string& pattern, Kind kind) : compiled_(std::make_unique<Compiled>()) {
  compiled_->pattern = pattern;
  const bool literal = kind == Kind::kLiteral;
  const std::string source = literal ? pattern : pcre2_of_oniguruma(pattern);
  const std::uint32_t flags =
      PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
  int code = 0;
  PCRE2_SIZE at = 0;
  compiled_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), flags, &code, &at, nullptr));
  if (!compiled_->code) {
    throw Error(ExitCode::kBadData, "the pattern `" + pattern.substr(0, 200) + "` does not compile: " +
                                        message_of(code) + " near byte " + std::to_string(at) +
                                        "; it must be a regular expression of Oniguruma and PCRE2");
  }
  // Where there is no JIT on this processor the interpreter does the same, slower.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
}

TextPattern::TextPattern(TextPattern&&) noexcept = default;
TextPattern& TextPattern::operator=(TextPattern&&) noexcept = default;
TextPattern::~TextPattern() = default;

std::vector<TextPattern::Part> TextPattern::parts(std::string_view text) const {
  thread_local const Scratch scratch;
  std::vector<Part> parts;
  std::size_t done = 0;
  std::optional<std::size_t> last_end;
  for (std::size_t at = 0; at <= text.size();) {
    // The caller has checked the UTF-8: checking it again at each match would make this quadratic.
    const int found =
        pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                    PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      throw Error(ExitCode::kBadData, "the pattern `" + compiled_->pattern.substr(0, 200) +
                                          "` gave up on a text of " + std::to_string(text.size()) +
                                          " bytes: " + message_of(found));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.data.get());
    if (range[0] == range[1] && last_end == range[1]) {  // nothing, right after a match: look further on
      at = next_code_point(text, at);
      continue;
    }
    if (range[0] > done) parts.push_back({done, range[0], false});
    parts.push_back({range[0], range[1], true});
    last_end = at = done = range[1];
  }
  if (done < text.size()) parts.push_back({done, text.size(), false});
  return parts;
}

std::string TextPattern::replaced(std::string_view text, std::string_view by) const {
  std::string out;
  for (const Part& part : parts(text))
    out += part.match ? by : text.substr(part.begin, part.end - part.begin);
  return out;
}

}  // namespace llm_tp

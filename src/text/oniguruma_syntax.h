#pragma once
#include <string>
#include <string_view>

namespace llm_tp {

/// A pattern of Oniguruma (Ruby's syntax, which tokenizer.json is written for) as PCRE2 must read it to match
/// the same texts: \s is Unicode's White_Space (PCRE2's own holds U+180E too), \w holds marks, \h is a
/// hexadecimal digit, ^ and $ are the ends of a line. Errors: kBadData for what the two read differently and
/// no tokenizer needs: \b, \B, \G, \K, sets in sets, &&, a + after {n,m}, and groups other than (?: (?i: (?=
/// (?! (?<= (?<! (?>.
std::string pcre2_of_oniguruma(std::string_view pattern);

}  // namespace llm_tp

#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "decoding/grammar/grammar.h"

namespace llm_tp {

/// Exactly one of the texts.
Grammar grammar_of_choices(const std::vector<std::string>& texts);

/// A text that matches the expression as a whole: literals, ., classes, \d \w \s, groups, |, * + ? {m,n}. ^
/// and $ may stand at the ends. Errors: kUsage for look-around, back-references and whatever else is not
/// regular.
Grammar grammar_of_regex(std::string_view expression);

/// EBNF in the notation of GBNF: name ::= "text" [class] name ( ) | * + ? {m,n}, # begins a comment; starts
/// at the rule root, else at the first. Errors: kUsage with line and column.
Grammar grammar_of_ebnf(std::string_view text, const std::string& name);

/// JSON that validates against a schema (2020-12), written in one line with ", " and ": ". Members come in
/// the order of `properties`; members that it does not name come only where it names none. Errors: kUsage for
/// a keyword that is not supported, by name and place.
Grammar grammar_of_json_schema(std::string_view schema, const std::string& name);
/// The same as a part of another grammar.
Grammar::Node add_json_schema(Grammar& grammar, std::string_view schema, const std::string& name);

/// Adds an expression to a grammar; with `in_json_string` the matched characters are those that stand for
/// themselves in a JSON string, and without ^ or $ anything may stand before or after. For grammar_of_*.
Grammar::Node add_regex(Grammar& grammar, std::string_view expression, const std::string& what,
                        bool in_json_string);

}  // namespace llm_tp

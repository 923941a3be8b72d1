#pragma once
#include <gmock/gmock.h>

#include <functional>
#include <string>

#include "base/error.h"

namespace llm_tp::test {

/// Expects an Error of this code whose message holds `part`.
inline void expect_error(ExitCode code, const std::string& part, const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "no error, one about \"" << part << "\" was wanted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
  }
}

/// A made-up byte-level tokenizer.json: all ASCII letters, a space, some merges, special tokens <s> (100) and
/// </s> (101), an added token <fn> (102) that is no control token.
inline std::string small_tokenizer_json() {
  std::string vocabulary;
  int id = 0;
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    vocabulary.append(1, '"').append(1, letter).append("\":").append(std::to_string(id++)).append(1, ',');
  }
  vocabulary +=
      R"("Ġ":26,"Ã":27,"©":28,"he":29,"ll":30,"hell":31,"hello":32,"Ġw":33,"Ġwo":34,"é":99)";  // byte E9
  return R"({"version":"1.0","added_tokens":[
    {"id":100,"content":"<s>","special":true,"normalized":false},
    {"id":101,"content":"</s>","special":true,"normalized":false},
    {"id":102,"content":"<fn>","special":false,"normalized":false,"rstrip":true}],
   "normalizer":{"type":"NFC"},
   "pre_tokenizer":{"type":"Sequence","pretokenizers":[
     {"type":"Split","pattern":{"Regex":" ?\\p{L}+|\\s+(?!\\S)|\\s+|[^\\s\\p{L}]+"},"behavior":"Isolated","invert":false},
     {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
   "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
     "special_tokens":{"<s>":{"id":"<s>","ids":[100],"tokens":["<s>"]}}},
   "decoder":{"type":"ByteLevel"},
   "model":{"type":"BPE","vocab":{)" +
         vocabulary + R"(},"merges":["h e",["l","l"],"he ll","hell o",["Ġ","w"],"Ġw o"]}})";
}

}  // namespace llm_tp::test

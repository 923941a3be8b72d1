#include "config/key_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "config/parse_value.h"

namespace llm_tp {
namespace {

const Origin kFlag{OriginKind::kFlag, "flag --x"};
const Origin kSet{OriginKind::kSet, "--set"};

TEST(KeyTable, NamesAndVariablesAreUniqueAndFlagsToo) {
  std::set<std::string> names, variables, flags;
  for (const KeyInfo& key : key_table()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_TRUE(variables.insert(key.environment_name()).second) << key.name;
    if (key.flag.empty()) continue;
    EXPECT_TRUE(flags.insert(key.flag).second) << key.flag;
  }
}

TEST(KeyTable, FlagIsTheNameWithDashes) {
  for (const KeyInfo& key : key_table()) {
    if (key.name == "command") continue;  // a word of its own on the command line
    std::string flag = "--" + key.name.substr(key.name.find('.') + 1);
    for (char& c : flag) c = c == '_' ? '-' : c;
    EXPECT_EQ(key.flag, flag);
  }
}

TEST(KeyTable, EveryKeyHasItsHelp) {
  const EngineConfig defaults;
  for (const KeyInfo& key : key_table()) {
    EXPECT_FALSE(key.help.empty()) << key.name;
    EXPECT_FALSE(key.allowed.empty()) << key.name;
    EXPECT_EQ(std::holds_alternative<std::monostate>(key.get(defaults)), !key.unset.empty()) << key.name;
    EXPECT_EQ(key.help.find_first_of("|\n"), std::string::npos) << key.name;
  }
}

TEST(KeyTable, DefaultsReadBackAsThemselves) {
  const EngineConfig defaults;
  for (const KeyInfo& key : key_table()) {
    const KeyValue value = key.get(defaults);
    if (std::holds_alternative<std::monostate>(value) || key.type == KeyType::kTextList) continue;
    EngineConfig config;
    ASSERT_NO_THROW(set_key(config, key.name, text_of(value), kSet)) << key.name;
    EXPECT_EQ(key.get(config), value) << key.name;
  }
}

TEST(KeyTable, SettersReachTheirMembers) {
  EngineConfig config;
  set_key(config, "device", "cuda", kSet);
  set_key(config, "dtype", "q4_0", kSet);
  set_key(config, "kv_dtype", "int8", kSet);
  set_key(config, "kv_memory", "3 MiB", kSet);
  set_key(config, "threads", "1024", kSet);
  set_key(config, "shares", "1, 1,0.5", kSet);
  set_key(config, "log_level", "debug", kSet);
  set_key(config, "generation.top_p", "9e-1", kSet);
  set_key(config, "generation.eos_token_ids", "", kSet);
  set_key(config, "generation.stop", "a,b", kSet);
  set_key(config, "generation.seed", "9223372036854775807", kSet);
  set_key(config, "bench.batch", "7", kSet);
  EXPECT_EQ(config.device, DeviceChoice::kCuda);
  EXPECT_EQ(config.dtype, DType::kQ4_0);
  EXPECT_EQ(config.kv_dtype, KvDType::kInt8);
  EXPECT_EQ(config.kv_memory, 3 * 1024 * 1024);
  EXPECT_EQ(config.threads, 1024);
  EXPECT_EQ(config.shares, (std::vector<double>{1, 1, 0.5}));
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.generation.top_p, 0.9);
  ASSERT_TRUE(config.generation.eos_token_ids.has_value());
  EXPECT_TRUE(config.generation.eos_token_ids->empty());
  EXPECT_EQ(config.generation.stop, std::vector<std::string>{"a,b"});
  EXPECT_EQ(config.generation.seed, 9223372036854775807);
  EXPECT_EQ(config.bench.batch, 7);
  EXPECT_FALSE(config.generation.temperature.has_value());
}

TEST(KeyTable, RefusedValueLeavesTheConfigAlone) {
  EngineConfig config;
  set_key(config, "shares", "1,2", kSet);
  EXPECT_THROW(set_key(config, "shares", "3,nan", kSet), Error);
  EXPECT_EQ(config.shares, (std::vector<double>{1, 2}));
}

TEST(KeyTable, WrongFlagIsUsageAndEverythingElseConfig) {
  EngineConfig config;
  const auto code = [&](const Origin& origin, const char* name, const char* value) {
    try {
      set_key(config, name, value, origin);
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::kOk;
  };
  EXPECT_EQ(code(kFlag, "threads", "0"), ExitCode::kUsage);
  EXPECT_EQ(code(kSet, "threads", "0"), ExitCode::kConfig);
  EXPECT_EQ(code(kSet, "threats", "1"), ExitCode::kConfig);
  EXPECT_EQ(code(kSet, "threads", "auto"), ExitCode::kOk);
}

TEST(KeyTable, EnvironmentNamesAreUpperCaseWithUnderscores) {
  EXPECT_EQ(find_key("generation.top_p")->environment_name(), "LLM_TP_GENERATION_TOP_P");
  EXPECT_EQ(find_key("max_context")->environment_name(), "LLM_TP_MAX_CONTEXT");
}

TEST(KeyTable, FlagsThatStandAloneAreTheBooleans) {
  EXPECT_FALSE(find_key("generation.chat")->takes_value());
  EXPECT_TRUE(find_key("threads")->takes_value());
  EXPECT_TRUE(find_key("generation.stop")->is_repeatable());
  EXPECT_FALSE(find_key("generation.stop_token_ids")->is_repeatable());
}

TEST(ParseValue, BytesReadBackAsTheyWereWritten) {
  for (const char* text : {"1KiB", "1023KiB", "512MiB", "8GiB", "1048576GiB"})
    EXPECT_EQ(bytes_text(*parse_bytes(text).value), text);
  for (const char* text : {"", "GiB", "0GiB", "8", "8G", "8GB", "-1GiB", "1.5GiB", "08GiB", "1048577GiB",
                           "99999999999999999999GiB", "8  GiB"})
    EXPECT_FALSE(parse_bytes(text).value.has_value()) << text;
}

TEST(ParseValue, DurationsAreReadAndShown) {
  for (const auto& [text, seconds] : std::vector<std::pair<std::string, std::int64_t>>{
           {"3h50m", 13800}, {"90s", 90}, {"2d", 172800}, {"1d2h3m4s", 93784}, {"120m", 7200}}) {
    EXPECT_EQ(parse_duration(text).value, seconds) << text;
    EXPECT_EQ(parse_duration(duration_text(seconds)).value, seconds) << text;
  }
  EXPECT_EQ(duration_text(13800), "3h50m");
  for (const char* text :
       {"", "3", "h", "50m3h", "3h3h", "3x", "-3h", "1.5h", "0s", "400d", "3 h", "99999999999999999999h"})
    EXPECT_FALSE(parse_duration(text).value.has_value()) << text;
}

TEST(ParseValue, NumbersAreFiniteDecimalsInRange) {
  EXPECT_EQ(parse_number("1e-3", 0, 1).value, 0.001);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "0x1", "1.5", "-0.1", "0.5x", " 1"})
    EXPECT_FALSE(parse_number(text, 0, 1).value.has_value()) << text;
}

TEST(ParseValue, SwapOfNeighboursIsOneEdit) {
  EXPECT_EQ(edit_distance("modle", "model"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(ParseValue, QuotedTextStaysOnOneLine) {
  EXPECT_EQ(in_quotes("a\nb\x01"), "\"a\\nb\\x01\"");
  EXPECT_LT(in_quotes(std::string(1000, 'x')).size(), 100u);
}

}  // namespace
}  // namespace llm_tp

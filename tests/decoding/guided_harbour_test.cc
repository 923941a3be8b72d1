// Guided decoding through the whole engine: what harbour writes under a schema, hot as it may be, is JSON
// that fits it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "comm/local_group.h"
#include "decoding/grammar/frontends.h"
#include "decoding/grammar/grammar_guide.h"
#include "engine/completion.h"
#include "engine/engine.h"
#include "json_schemas.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

using nlohmann::ordered_json;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSchemas = 60;
#else
constexpr int kSchemas = 1000;
#endif

TEST(GuidedHarbour, TextsUnderRandomSchemasParseAndValidate) {
  std::mt19937 random(11);
  std::vector<ordered_json> schemas;
  for (int i = 0; i < kSchemas; ++i) schemas.push_back(random_schema(random, 2));
  EngineConfig config;
  config.model = repository_path("models/harbour/hf");
  config.threads = 1;
  std::vector<Completion> completions;
  LocalGroup(1).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, 0, 1, "test"};
    const auto prepare = [](ModelFiles&) { return LoadPlan{20000, 256, 32}; };
    run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double) {
      std::vector<std::string> pieces(static_cast<std::size_t>(files.shape.vocabulary));
      for (TokenId id = 0; id < files.tokenizer->vocabulary_size(); ++id)
        pieces[static_cast<std::size_t>(id)] = files.tokenizer->piece(id);
      for (int i = 0; i < kSchemas; ++i) {
        Request request;
        request.prompt = files.tokenizer->encode("Once", true);
        request.max_tokens = 500;
        request.end_ids = files.end_ids;
        request.sampling.temperature = 1.5F;
        request.sampling.seed = static_cast<std::uint64_t>(i);
        const std::string schema = schemas[static_cast<std::size_t>(i)].dump();
        request.guide = make_guide(grammar_of_json_schema(schema, "schema"), "schema", pieces, files.end_ids);
        leader.scheduler().add(request);
        completions.emplace_back(files.tokenizer.get(), std::vector<std::string>{}, false);
      }
      leader.run([&](const Progress& progress) {
        completions[static_cast<std::size_t>(progress.request)].push(progress);
      });
      EXPECT_GT(leader.scheduler().figures().strategies.accepted, 0);
    });
  });
  for (std::size_t i = 0; i < completions.size(); ++i) {
    EXPECT_STREQ(completions[i].finish_reason(), "stop") << schemas[i];
    const ordered_json value = ordered_json::parse(completions[i].text(), nullptr, false);
    ASSERT_FALSE(value.is_discarded()) << schemas[i] << "\n" << completions[i].text();
    EXPECT_TRUE(fits(value, schemas[i])) << schemas[i] << "\n" << completions[i].text();
  }
}

}  // namespace
}  // namespace llm_tp

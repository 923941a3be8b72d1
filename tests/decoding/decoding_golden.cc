// decoding_golden FILE: checks a file in the format of tests/golden/decoding/processors.json, case by case,
// through the code that requests take: settings -> adjustments in a step plan's bytes -> every rank's own
// rows -> rank 0.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/local_group.h"
#include "decoding/row_maker.h"
#include "engine/row_scorer.h"
#include "kernels/cpu/cpu_backend.h"
#include "model/shard_plan.h"

namespace llm_tp {
namespace {

using nlohmann::json;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

float score_of(const json& value) { return value.is_null() ? kForbidden : value.get<float>(); }

std::vector<float> scores_of(const json& values) {
  std::vector<float> scores;
  for (const json& value : values) scores.push_back(score_of(value));
  return scores;
}

/// An id or a list of ids.
std::vector<TokenId> ids_of(const json& value) {
  if (value.is_null()) return {};
  return value.is_array() ? value.get<std::vector<TokenId>>() : std::vector<TokenId>{value.get<TokenId>()};
}

struct Settings {
  ProcessorSettings processors;
  SamplingSettings sampling;
};

Settings settings_of(const json& row, const json& test) {
  Settings s;
  s.processors.end_ids = ids_of(row.at("eos_token_id"));
  s.processors.max_length = 64;
  for (const json& name : test.at("order"))
    if (name.get<std::string>().ends_with("Warper")) s.sampling.temperature = 1;
  for (const auto& [key, value] : test.at("options").items()) {
    ProcessorSettings& p = s.processors;
    if (key == "temperature")
      s.sampling.temperature = value.get<float>();
    else if (key == "top_k")
      s.sampling.top_k = value.get<std::int32_t>();
    else if (key == "top_p")
      s.sampling.top_p = value.get<float>();
    else if (key == "min_p")
      s.sampling.min_p = value.get<float>();
    else if (key == "typical_p")
      s.sampling.typical_p = value.get<float>();
    else if (key == "epsilon_cutoff")
      s.sampling.epsilon_cutoff = value.get<float>();
    else if (key == "eta_cutoff")
      s.sampling.eta_cutoff = value.get<float>();
    else if (key == "min_tokens_to_keep")
      s.sampling.min_keep = value.get<std::int32_t>();
    else if (key == "renormalize_logits")
      s.sampling.renormalise = value.get<bool>() ? 1 : 0;
    else if (key == "repetition_penalty")
      p.repetition_penalty = value.get<float>();
    else if (key == "no_repeat_ngram_size")
      p.no_repeat_ngram_size = value.get<std::int32_t>();
    else if (key == "bad_words_ids")
      p.bad_words = value.get<std::vector<std::vector<TokenId>>>();
    else if (key == "min_length")
      p.min_length = value.get<std::int32_t>();
    else if (key == "min_new_tokens")
      p.min_new_tokens = value.get<std::int32_t>();
    else if (key == "max_length")
      p.max_length = value.get<std::int32_t>();
    else if (key == "forced_bos_token_id")
      p.forced_begin = ids_of(value);
    else if (key == "forced_eos_token_id")
      p.forced_end = ids_of(value);
    else if (key == "suppress_tokens")
      p.suppress = ids_of(value);
    else if (key == "begin_suppress_tokens")
      p.begin_suppress = ids_of(value);
    else if (key == "sequence_bias")
      for (const json& entry : value)
        p.sequence_bias.push_back({entry.at(0).get<std::vector<TokenId>>(), entry.at(1).get<float>()});
    else if (key == "exponential_decay_length_penalty") {
      p.decay_start = value.at(0).get<std::int32_t>();
      p.decay_factor = value.at(1).get<float>();
    } else {
      throw Error(ExitCode::kBadData, "option " + key + " is not known");
    }
  }
  return s;
}

/// One row's requests over `world` ranks: all processed scores first, then as a request asks for it.
std::vector<RowResult> over_ranks(const std::vector<float>& scores, const Settings& settings,
                                  const std::vector<TokenId>& tokens, std::int64_t prompt_tokens, int world) {
  const auto vocabulary = static_cast<std::int64_t>(scores.size());
  const std::int64_t unit = vocabulary_unit(vocabulary);
  const std::vector<double> equal(static_cast<std::size_t>(world), 1.0);
  const std::vector<Range> units = cut_by_shares((vocabulary + unit - 1) / unit, equal);
  std::vector<RowResult> results;
  LocalGroup(world).run([&](Communicator& ranks, ControlChannel& control) {
    std::vector<std::byte> bytes;
    if (ranks.rank() == 0) {
      RowMaker maker(settings.processors, settings.sampling, nullptr, prompt_tokens, 0);
      ScoreList list;
      list.rows.push_back(maker.make(0, tokens, 0, 0, list));
      list.rows.push_back(list.rows[0]);
      list.rows[0].whole = WholeKind::kScores;
      ByteWriter out;
      list.write(out);
      bytes = out.take();
    }
    control.broadcast(bytes);
    ByteReader in(bytes);
    const ScoreList list = ScoreList::read(in, 1);
    const Range& own = units[static_cast<std::size_t>(ranks.rank())];
    const Range rows{std::min(own.begin * unit, vocabulary), std::min(own.end * unit, vocabulary)};
    CpuBackend ops({.threads = 2});
    RankBook book(ranks, 0);
    RowScorer scorer(ops, ranks, control, book, rows, vocabulary);
    std::vector<float> part(scores.begin() + rows.begin, scores.begin() + rows.end);
    const std::vector<std::int32_t> row{0};
    auto got =
        scorer.score(list, 0, list.rows.size(), {TensorView::matrix(part.data(), 1, rows.size()), row});
    if (ranks.rank() == 0) results = std::move(got);
  });
  return results;
}

bool close(float got, float want) {
  if (std::isinf(want) || std::isinf(got)) return got == want;
  return std::abs(got - want) <= 1e-6f * std::max(1.0f, std::abs(want));
}

/// Empty where the case holds.
std::string difference(const json& row, const json& test, int world) {
  const std::vector<float> scores = scores_of(row.at("scores"));
  std::vector<float> want = scores;
  for (std::size_t i = 0; i < test.at("changed_ids").size(); ++i)
    want.at(test.at("changed_ids")[i].get<std::size_t>()) = score_of(test.at("changed_scores")[i]);
  const auto results = over_ranks(scores, settings_of(row, test), ids_of(row.at("input_ids")),
                                  row.at("prompt_length").get<std::int64_t>(), world);
  const std::vector<float>& got = results.at(0).whole;
  if (got.size() != want.size()) return "wrong number of scores";
  for (std::size_t id = 0; id < want.size(); ++id)
    if (!close(got[id], want[id]))
      return "token " + std::to_string(id) + ": found " + std::to_string(got[id]) + ", wanted " +
             std::to_string(want[id]);
  if (results[0].token != results.at(1).token)
    return "the candidates give token " + std::to_string(results[1].token) + ", all scores " +
           std::to_string(results[0].token);
  return {};
}

int check(const char* path) {
  std::ifstream file(path);
  if (!file) throw Error(ExitCode::kMissingFile, std::string(path) + ": cannot be read");
  const json data = json::parse(file);
  int failures = 0;
  std::size_t number = 0;
  for (const json& test : data.at("cases")) {
    for (int world = 1; world <= 4; ++world) {
      const std::string found =
          difference(data.at("rows").at(test.at("row").get<std::size_t>()), test, world);
      if (found.empty()) continue;
      ++failures;
      std::printf("case %zu over %d ranks, %s: %s\n", number, world, test.at("options").dump().c_str(),
                  found.c_str());
    }
    ++number;
  }
  std::printf("%zu cases over 1 to 4 ranks, %d differences\n", number, failures);
  return failures == 0 && number > 0 ? 0 : 1;
}

}  // namespace
}  // namespace llm_tp

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: decoding_golden FILE\n", stderr);
    return 64;
  }
  try {
    return llm_tp::check(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "decoding_golden: error: %s\n", error.what());
    return 65;
  }
}

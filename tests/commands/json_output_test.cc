// The fields of docs and scripts: what --json prints at least.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "command_run.h"
#include "tests/support/golden.h"
#include "tests/support/npz.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

using nlohmann::json;

const std::string kModel = golden_folder() + "/models/heads_9_3";
const std::string kHarbour = repository_path("models/harbour/hf");

json output_of(int ranks, const std::vector<std::string>& words) {
  const Ended ended = run_command_line(ranks, words);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1) << ended.out;
  return ended.json();
}

TEST(Json, GenerateWithTokenIds) {
  const json answer =
      output_of(can_start_ranks() ? 2 : 0, {"generate", "--model", kModel, "--prompt-tokens", "1,2,3",
                                            "--max-tokens", "4", "--n", "2", "--logprobs", "2", "--json"});
  EXPECT_EQ(answer.at("model"), kModel);
  EXPECT_EQ(answer.at("ranks"), can_start_ranks() ? 2 : 1);
  EXPECT_EQ(answer.at("prompt_tokens"), json({1, 2, 3}));
  EXPECT_EQ(answer.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(answer.at("usage").at("completion_tokens"), 8);
  EXPECT_EQ(answer.at("usage").at("cached_tokens"), 0);
  for (const char* key : {"load_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"})
    EXPECT_GT(answer.at("timings").at(key).get<double>(), 0) << key;
  ASSERT_EQ(answer.at("choices").size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const json& choice = answer["choices"][i];
    EXPECT_EQ(choice.at("index"), i);
    EXPECT_EQ(choice.at("tokens").size(), 4U);
    EXPECT_TRUE(choice.at("text").is_null());  // no tokenizer
    EXPECT_EQ(choice.at("finish_reason"), "length");
    double sum = 0;
    for (const json& token : choice.at("logprobs")) {
      sum += token.at("logprob").get<double>();
      ASSERT_EQ(token.at("top").size(), 2U);
      EXPECT_EQ(token["top"][0].at("token"), token.at("token"));  // greedy: the best is the chosen one
      EXPECT_EQ(token["top"][0].at("logprob"), token["logprob"]);
    }
    EXPECT_NEAR(choice.at("cumulative_logprob").get<double>(), sum, 1e-12);
  }
}

TEST(Json, GenerateTextFromStdinStopsAtTheEndId) {
  const Ended ended =
      run_command_line(0, {"generate", "--model", kHarbour, "--temperature", "0", "--chat", "--json"},
                       "Where does the baker live?");
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json choice = ended.json().at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "The baker lives above the bakery. Her name is Ada.");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
}

TEST(Json, ScoreAndItsLogitsFile) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "logits.npy";
  const json answer =
      output_of(0, {"score", "--model", kModel, "--tokens", "1,15,7", "--logits", file, "--json"});
  EXPECT_EQ(answer.at("tokens"), json({1, 15, 7}));
  ASSERT_EQ(answer.at("logprobs").size(), 3U);
  EXPECT_TRUE(answer["logprobs"][0].is_null());
  const NpyArray logits = read_npy(file);
  EXPECT_EQ(logits.shape, (std::vector<std::int64_t>{3, 257}));
  const auto logprob = [&](std::int64_t row, int token) {
    double sum = 0;
    for (std::int64_t i = 0; i < logits.columns(); ++i) sum += std::exp(double{logits.row(row)[i]});
    return logits.row(row)[token] - std::log(sum);
  };
  EXPECT_NEAR(answer["logprobs"][1].get<double>(), logprob(0, 15), 1e-6);
  EXPECT_NEAR(answer["logprobs"][2].get<double>(), logprob(1, 7), 1e-6);
  const double nll = -(logprob(0, 15) + logprob(1, 7)) / 2;
  EXPECT_NEAR(answer.at("mean_nll").get<double>(), nll, 1e-6);
  EXPECT_NEAR(answer.at("perplexity").get<double>(), std::exp(nll), 1e-3 * std::exp(nll));
}

TEST(Json, NumbersThatAreNotFiniteAreNull) {
  const json answer = output_of(0, {"score", "--model", kModel, "--tokens", "1", "--json"});
  EXPECT_TRUE(answer.at("mean_nll").is_null() && answer.at("perplexity").is_null());
}

TEST(Json, EmbedTextsLinesAndTokens) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "lines.txt";
  std::ofstream(file) << "A boat.\nThe lamp is lit.\r\n";
  const int ranks = can_start_ranks() ? 3 : 0;
  const json answer = output_of(
      ranks, {"embed", "--model", kHarbour, "--text", "The lamp is lit.", "--text-file", file, "--json"});
  EXPECT_EQ(answer.at("pooling"), "mean");
  EXPECT_EQ(answer.at("normalized"), true);
  ASSERT_EQ(answer.at("embeddings").size(), 3U);
  const json& first = answer["embeddings"][0].at("embedding");
  EXPECT_EQ(first.size(), answer.at("dimensions"));
  EXPECT_EQ(first, answer["embeddings"][2]["embedding"]);
  EXPECT_NE(first, answer["embeddings"][1]["embedding"]);
  const Ended lines = run_command_line(0, {"embed", "--model", kHarbour, "--json"}, "The lamp is lit.\n");
  EXPECT_EQ(lines.json().at("embeddings").at(0).at("embedding"), first) << lines.err;
  const json raw = output_of(0, {"embed", "--model", kModel, "--tokens", "1,2", "--pooling", "last",
                                 "--normalize", "false", "--json"});
  EXPECT_EQ(raw.at("pooling"), "last");
  EXPECT_EQ(raw.at("normalized"), false);
  EXPECT_EQ(raw.at("usage").at("prompt_tokens"), 2);
}

TEST(Json, TokenizeAndBack) {
  const json answer =
      output_of(0, {"tokenize", "--model", kHarbour, "--text", "The lamp is lit.", "--no-special", "--json"});
  std::string ids;
  for (const json& id : answer.at("tokens")) ids += (ids.empty() ? "" : ",") + id.dump();
  EXPECT_EQ(answer.at("text"), "The lamp is lit.");
  EXPECT_EQ(output_of(0, {"tokenize", "--model", kHarbour, "--decode", ids, "--json"}).at("text"),
            "The lamp is lit.");
}

TEST(Json, InspectShowsEveryRanksShare) {
  const json answer = output_of(0, {"inspect", "--model", kModel, "--ranks", "2", "--json"});
  EXPECT_EQ(answer.at("architecture"), "LlamaForCausalLM");
  EXPECT_EQ(answer.at("file_bytes"), std::filesystem::file_size(kModel + "/model.safetensors"));
  EXPECT_GT(answer.at("parameters").get<std::int64_t>(), 300000);
  EXPECT_EQ(answer.at("context"), 2048);
  ASSERT_EQ(answer.at("ranks").size(), 2U);
  EXPECT_EQ(answer["ranks"][0].at("query_heads"), json({0, 4}));
  EXPECT_EQ(answer["ranks"][1].at("kv_heads"), json({1, 3}));
  for (const char* key :
       {"rank", "mlp_columns", "vocab_rows", "weight_bytes", "kv_bytes_per_token", "workspace_bytes"})
    EXPECT_TRUE(answer["ranks"][1].contains(key)) << key;
  // A byte a number and the scales.
  const json& bytes = answer.at("kv_bytes_per_token");
  EXPECT_EQ(bytes.at("f32"), 2 * bytes.at("f16").get<int>());
  EXPECT_EQ(bytes.at("f16"), bytes.at("bf16"));
  EXPECT_EQ(bytes.at("int8"), bytes.at("fp8"));
  EXPECT_LT(bytes.at("int8"), bytes.at("f16"));
  EXPECT_GT(bytes.at("int8"), bytes.at("f16").get<int>() / 2);
}

TEST(Json, InspectShowsExpertsSlicedAndWhole) {
  const std::string mixture = golden_folder() + "/models/qwen2_moe";
  const std::vector<std::string> words{"inspect", "--model", mixture, "--ranks", "2", "--json"};
  const json sliced = output_of(0, words);
  EXPECT_EQ(sliced.at("experts"), 5);
  EXPECT_EQ(sliced["ranks"][1].at("experts"), json({0, 5}));
  EXPECT_GT(sliced["ranks"][1].at("expert_columns")[0], 0);
  std::vector<std::string> parallel = words;
  parallel.emplace_back("--expert-parallel");
  const json whole = output_of(0, parallel);
  EXPECT_EQ(whole["ranks"][0].at("experts"), json({0, 2}));
  EXPECT_EQ(whole["ranks"][1].at("experts"), json({2, 5}));
  EXPECT_EQ(whole["ranks"][1].at("expert_columns"), json({0, whole.at("expert_columns")}));
}

TEST(Json, BenchKernelsCountsBytesAndFlop) {
  const json answer =
      output_of(0, {"bench", "kernels", "--model", kModel, "--dtype", "bf16", "--prompt-tokens", "8",
                    "--repetitions", "1", "--device", "cpu", "--json"});
  const double copy = answer.at("copy_bytes_per_second"), best = answer.at("product_flop_per_second");
  EXPECT_GT(copy, 0);
  EXPECT_GT(answer.at("bytes_in_turn").get<std::int64_t>(), 100 << 20);
  std::set<std::string> ops;
  double fastest = 0;
  int found = 0;
  for (const json& kernel : answer.at("kernels")) {
    const double seconds = kernel.at("seconds"), bytes = kernel.at("bytes"), flop = kernel.at("flop");
    ops.insert(kernel.at("op"));
    EXPECT_NEAR(kernel.at("of_copy").get<double>(), bytes / seconds / copy, 1e-9);
    EXPECT_NEAR(kernel.at("of_product").get<double>(), flop / seconds / best, 1e-9);
    if (flop > 0 && kernel.at("op") != "attention") fastest = std::max(fastest, flop / seconds);
    // 9 heads and twice 3 of 16 numbers, of 144 columns.
    if (kernel.at("shape") == "1 x 144 -> 240") {
      ++found;
      EXPECT_EQ(flop, 2.0 * 144 * 240);
      EXPECT_GE(bytes, 2.0 * 144 * 240 + 4 * (144 + 240));
      EXPECT_LE(bytes, 2.0 * 256 * 256 + 4 * (144 + 240));
    }
  }
  EXPECT_EQ(found, 1);
  EXPECT_DOUBLE_EQ(fastest, best);
  for (const char* op :
       {"q, k, v", "attention output", "gate, up", "down", "LM head", "attention", "RMSNorm", "add", "RoPE",
        "SiLU, multiply", "write keys, values", "scores, greedy", "scores, a draw", "scores, top-p"})
    EXPECT_EQ(ops.count(op), 1u) << op;
}

TEST(Json, Bench) {
  const json answer = output_of(0, {"bench", "--model", kModel, "--prompt-tokens", "8", "--decode-tokens",
                                    "4", "--repetitions", "2", "--threads", "1", "--json"});
  for (const char* key : {"prefill", "decode"}) {
    EXPECT_LE(answer.at(key).at("min").get<double>(), answer[key].at("median").get<double>());
    EXPECT_LE(answer[key].at("median").get<double>(), answer[key].at("max").get<double>());
    EXPECT_EQ(answer.at(std::string(key) + "_tokens_per_second"), answer[key]["median"]);
  }
  EXPECT_EQ(answer.at("ranks"), 1);
  EXPECT_EQ(answer.at("threads"), 1);
  EXPECT_TRUE(answer.contains("sum_share"));
}

TEST(Json, VersionAndConfig) {
  EXPECT_TRUE(output_of(0, {"version", "--json"}).at("version").is_string());
  EXPECT_TRUE(output_of(0, {"config", "check", "--json"}).is_object());
  const Ended shown = run_command_line(0, {"config", "show", "--threads", "3", "--json"});
  EXPECT_EQ(shown.code, 0);
  EXPECT_NE(shown.json().dump().find("--threads"), std::string::npos) << shown.out;
}

}  // namespace
}  // namespace llm_tp

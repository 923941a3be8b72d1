#include "npz.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "golden.h"

namespace llm_tp {
namespace {

std::string npy(const std::string& dictionary, const std::vector<float>& values) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(dictionary.size());
  bytes += '\0';
  bytes += dictionary;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return bytes;
}

ExitCode code_of(const std::string& bytes) {
  try {
    parse_npy(bytes, "made-up.npy");
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::kOk;
}

TEST(Npy, ReadsShapeAndNumbers) {
  const NpyArray array = parse_npy(
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", {1, 2, 3, 4, 5, 6}), "x");
  EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(array.row(1)[2], 6.0f);
}

TEST(Npy, RefusesWhatItWouldMisread) {
  EXPECT_EQ(code_of(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", {1, 2, 3, 4})),
            ExitCode::kBadData);
  EXPECT_EQ(code_of(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }\n", {1, 2, 3, 4})),
            ExitCode::kBadData);
  EXPECT_EQ(code_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", {1, 2, 3})),
            ExitCode::kBadData);
  EXPECT_EQ(
      code_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", {1})),
      ExitCode::kBadData);
  EXPECT_EQ(code_of("not numpy at all"), ExitCode::kBadData);
}

TEST(Npz, EveryCutOfAnArrayIsRefused) {
  // A file with one byte more or less at any place must never be read beyond its end; the sanitizers watch.
  const std::string path = golden_folder() + "/models/llama_biases/reference.npz";
  const auto whole = read_npz(path);
  ASSERT_EQ(whole.size(), 3u);
  std::string bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", {1, 2});
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(code_of(bytes.substr(0, size)), ExitCode::kBadData);
  EXPECT_THROW(parse_npz(bytes, "x"), Error);
}

TEST(Npz, ReadsDeflatedEntries) {
  const auto arrays = read_npz(repository_path("models/harbour/reference_logits.npz"));
  ASSERT_EQ(arrays.count("logits"), 1u);
  EXPECT_EQ(arrays.at("logits").shape, (std::vector<std::int64_t>{61, 1024}));
}

TEST(Golden, EveryModelHasPromptsIdsAndLogitsThatAgree) {
  ASSERT_EQ(golden_model_names().size(), 17u);
  for (const std::string& name : golden_model_names()) {
    const GoldenCase golden = load_golden_model(name);
    ASSERT_EQ(golden.prompts.size(), 3u) << name;
    ASSERT_EQ(golden.greedy.size(), 3u) << name;
    for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
      const NpyArray& logits = golden.logits[i];
      const float* last = logits.row(logits.rows() - 1);
      // The first greedy id is the best of the last row: ids and logits belong together.
      EXPECT_EQ(std::max_element(last, last + logits.columns()) - last, golden.greedy[i][0])
          << name << " prompt " << i;
      EXPECT_LT(golden.max_abs_diff_hf_float32[i], kGoldenLogitTolerance) << name;
    }
  }
}

TEST(Golden, EveryGgufTypeHasItsOwnReference) {
  for (const std::string& type : golden_gguf_types()) {
    const GoldenCase golden = load_golden_gguf(type);
    ASSERT_EQ(golden.prompts.size(), 2u) << type;
    const NpyArray& logits = golden.logits[1];
    const float* last = logits.row(logits.rows() - 1);
    EXPECT_EQ(std::max_element(last, last + logits.columns()) - last, golden.greedy[1][0]) << type;
  }
  EXPECT_NE(load_golden_gguf("Q4_0").logits[1].values, load_golden_gguf("F32").logits[1].values);
}

TEST(Golden, HarbourPromptsCarryTheirContinuations) {
  const auto prompts = load_harbour_prompts();
  ASSERT_EQ(prompts.size(), 6u);
  for (const auto& prompt : prompts) EXPECT_EQ(prompt.greedy.size(), 100u) << prompt.name;
}

TEST(MaxAbsDifference, ANumberThatIsNotFiniteIsInfinitelyFar) {
  const NpyArray reference{{1, 3}, {1, 2, 3}};
  EXPECT_EQ(max_abs_difference({1.0f, 2.5f, 3.0f}, reference), 0.5);
  EXPECT_TRUE(
      std::isinf(max_abs_difference({1.0f, std::numeric_limits<float>::quiet_NaN(), 3.0f}, reference)));
  EXPECT_TRUE(std::isinf(max_abs_difference({1.0f, 2.0f}, reference)));
}

}  // namespace
}  // namespace llm_tp

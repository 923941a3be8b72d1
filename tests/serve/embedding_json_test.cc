#include "serve/embedding_json.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace llm_tp {
namespace {

TEST(EmbeddingJson, NumbersHaveFewDigitsAndGiveTheFloatBack) {
  const std::vector<float> values{0.1f,
                                  -1.0f / 3.0f,
                                  1e-30f,
                                  0.0f,
                                  std::numeric_limits<float>::denorm_min(),
                                  std::numeric_limits<float>::max()};
  const Json list = embedding_list(values);
  EXPECT_EQ(to_text(list[0]), "0.1");
  const Json read = Json::parse(to_text(list));
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(static_cast<float>(read[i].get<double>()), values[i]) << to_text(read[i]);
}

TEST(EmbeddingJson, Base64HoldsTheBytesLittleEndian) {
  // 1.0f is 00 00 80 3F, -2.0f is 00 00 00 C0.
  EXPECT_EQ(embedding_base64(std::vector<float>{}), "");
  EXPECT_EQ(embedding_base64(std::vector<float>{1.0f}), "AACAPw==");
  EXPECT_EQ(embedding_base64(std::vector<float>{1.0f, -2.0f}), "AACAPwAAAMA=");
  EXPECT_EQ(embedding_base64(std::vector<float>{1.0f, -2.0f, 1.0f}), "AACAPwAAAMAAAIA/");
}

}  // namespace
}  // namespace llm_tp

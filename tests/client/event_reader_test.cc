#include "client/event_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace llm_tp {
namespace {

TEST(EventReader, GivesTheSameDataHoweverTheBytesArePieced) {
  const std::string stream =
      "data: {\"a\":1}\n\n: a comment\nevent: x\ndata:two\r\ndata: lines\r\n\r\n\nid: 7\n\ndata: "
      "[DONE]\n\ndata: cut";
  const std::vector<std::string> wanted{"{\"a\":1}", "two\nlines", "[DONE]"};
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    std::vector<std::string> seen;
    EventReader reader([&](std::string_view data) { seen.emplace_back(data); });
    for (std::size_t i = 0; i < stream.size(); i += piece) reader.push(stream.substr(i, piece));
    EXPECT_EQ(seen, wanted) << "pieces of " << piece;
  }
}

TEST(EventReader, RefusesALineWithoutAnEnd) {
  EventReader reader([](std::string_view) {});
  const std::string part(std::size_t{1} << 20, 'x');
  for (int i = 0; i < 16; ++i) reader.push(part);
  EXPECT_THROW(reader.push("x"), Error);
}

}  // namespace
}  // namespace llm_tp

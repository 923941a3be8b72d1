#include "schedule/live_request.h"

#include <gtest/gtest.h>

namespace llm_tp {
namespace {

/// Runs rows of a sequence whose outcomes nobody wants.
void run_rows(SequenceTable& table, LiveRequest& request, SequenceId id, std::int32_t rows) {
  std::vector<PageCopy> copies;
  table.prepare(id, rows, copies);
  request.note_rows();
  table.advance(id, rows);
}

TEST(LiveRequest, ChoicesGoOnFromOneBeginningAndNoneEndsBefore) {
  SequenceTable table(4, {{40}}, {}, false);
  Request request;
  request.prompt = {1, 2, 3, 4, 5, 6};
  request.choices = 3;
  LiveRequest live(0, request, table);
  live.run();
  const SequenceId prompt = live.sequences.at(0);
  ScoreList list;
  for (std::int32_t position = 0; position < 6; ++position)
    live.strategy->want(live, prompt, position, position, list);
  ASSERT_EQ(list.rows.size(), 3U);
  run_rows(table, live, prompt, 6);
  std::vector<Output> told;
  for (TokenId token = 0; token < 3; ++token) {
    RowResult result;
    result.token = token;
    live.strategy->take(prompt, 5, result, told);
  }
  live.after_step(told);
  ASSERT_EQ(live.sequences.size(), 3U);

  live.preempt();
  EXPECT_FALSE(live.runs());
  for (const SequenceId id : live.sequences) EXPECT_TRUE(table.get(id).runs[0].pages.empty());
  live.run();
  EXPECT_EQ(live.rows_of(live.sequences[0]), 6);
  EXPECT_FALSE(live.decodes(live.sequences[0]));
  for (const std::size_t follower : {1U, 2U}) EXPECT_EQ(live.rows_of(live.sequences[follower]), 0);
  live.stop(0);
  EXPECT_EQ(live.sequences.size(), 3U) << "the others need it";
  run_rows(table, live, live.sequences[0], 6);
  live.after_step(told);
  for (const SequenceId id : live.sequences) {
    EXPECT_EQ(live.rows_of(id), 1);  // its own token
    EXPECT_TRUE(live.decodes(id));
    EXPECT_EQ(table.get(id).runs[0].pages, table.get(live.sequences[0]).runs[0].pages);
  }
  table.check_accounts();
  live.drop_all();
  table.check_accounts();
  EXPECT_EQ(table.available(ModelSlot::kMain, 0), 40);
}

}  // namespace
}  // namespace llm_tp

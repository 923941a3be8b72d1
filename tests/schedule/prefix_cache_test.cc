#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "fake_model.h"
#include "schedule/prefix_index.h"
#include "schedule/sequence_table.h"

namespace llm_tp {
namespace {

constexpr std::int32_t kPageTokens = 4;

TEST(PrefixIndex, TheLongestKnownBeginningIsFound) {
  PrefixIndex index(2);
  const std::vector<TokenId> tokens{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(index.add(tokens, std::vector<PageId>{7, 8, 9}), (std::vector<PageId>{7, 8, 9}));
  EXPECT_EQ(index.find(tokens, 9), (std::vector<PageId>{7, 8, 9}));
  EXPECT_EQ(index.find(tokens, 2), (std::vector<PageId>{7, 8}));
  EXPECT_EQ(index.find(std::vector<TokenId>{1, 2, 3, 4, 5}, 9), (std::vector<PageId>{7, 8}));
  EXPECT_EQ(index.find(std::vector<TokenId>{1, 2, 3, 5}, 9), (std::vector<PageId>{7}));
  EXPECT_TRUE(index.find(std::vector<TokenId>{3, 4, 5, 6}, 9).empty());
  // The same content on another page: the known one stays, and nothing is hung behind it.
  EXPECT_TRUE(index.add(std::vector<TokenId>{1, 2, 9, 9}, std::vector<PageId>{5, 6}).empty());
}

TEST(PrefixIndex, TheLeafUnusedLongestGoesFirst) {
  PrefixIndex index(1);
  index.add(std::vector<TokenId>{1, 2}, std::vector<PageId>{10, 11});
  index.add(std::vector<TokenId>{1, 3}, std::vector<PageId>{10, 12});
  index.find(std::vector<TokenId>{1, 2}, 9);
  const auto idle = [](PageId) { return true; };
  EXPECT_EQ(index.evict(idle), 12);
  EXPECT_EQ(index.evict([](PageId page) { return page != 11; }), std::nullopt);
  EXPECT_EQ(index.evict(idle), 11);
  EXPECT_EQ(index.evict(idle), 10);
  EXPECT_EQ(index.evict(idle), std::nullopt);
}

/// Every page of every sequence holds that sequence's tokens, whatever was done before.
TEST(SequenceTable, AHundredThousandRandomOperationsKeepEveryPageRight) {
  constexpr std::int32_t kPages = 60;
  SequenceTable table(kPageTokens, kPages, 1, true);
  std::mt19937 random(5);
  const auto draw = [&](std::int32_t below) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(below));
  };
  std::map<PageId, std::vector<TokenId>> content;
  std::vector<SequenceId> live;
  std::int64_t reused = 0, promised = 0;
  std::map<SequenceId, std::int32_t> room;
  const auto pages_of = [](std::int32_t positions) { return (positions + kPageTokens - 1) / kPageTokens; };
  for (int operation = 0; operation < 100000; ++operation) {
    const std::int32_t kind = draw(10);
    if (kind < 2) {
      std::vector<TokenId> tokens(static_cast<std::size_t>(1 + draw(30)));
      for (TokenId& token : tokens) token = draw(8) == 0 ? 1 : 0;
      const std::int32_t needed = static_cast<std::int32_t>(tokens.size()) + 12;
      if (promised + pages_of(needed) > kPages) continue;
      promised += pages_of(needed);
      const SequenceId id = table.start(ModelSlot::kMain, tokens, draw(4) != 0);
      reused += table.get(id).done;
      ASSERT_LT(table.get(id).done, static_cast<std::int32_t>(tokens.size()));
      room[id] = needed;
      live.push_back(id);
    } else if (!live.empty()) {
      const std::size_t at = static_cast<std::size_t>(draw(static_cast<std::int32_t>(live.size())));
      const SequenceId id = live[at];
      const auto& sequence = table.get(id);
      const auto length = static_cast<std::int32_t>(sequence.tokens.size());
      if (kind < 6 && sequence.waiting() > 0) {
        const std::int32_t rows = 1 + draw(sequence.waiting());
        SequenceTable::PageCopies copies;
        table.prepare(id, rows, copies);
        for (std::size_t i = 0; i < copies.from.size(); ++i) content[copies.to[i]] = content[copies.from[i]];
        for (std::int32_t p = sequence.done; p < sequence.done + rows; ++p) {
          auto& page = content[sequence.pages[static_cast<std::size_t>(p / kPageTokens)]];
          page.resize(kPageTokens, -1);
          page[static_cast<std::size_t>(p % kPageTokens)] = sequence.tokens[static_cast<std::size_t>(p)];
        }
        table.advance(id, rows);
      } else if (kind == 6 && length < room[id]) {
        table.append(id, std::vector<TokenId>{draw(2)});
      } else if (kind == 7 && length > 1) {
        table.cut(id, 1 + draw(length - 1));
      } else if (kind == 8 && promised + pages_of(room[id]) <= kPages) {
        promised += pages_of(room[id]);
        const SequenceId copy = table.fork(id);
        room[copy] = room[id];
        live.push_back(copy);
      } else if (kind == 9) {
        promised -= pages_of(room[id]);
        table.drop(id);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    if (operation % 50 != 0) continue;
    for (const SequenceId id : live) {
      const auto& sequence = table.get(id);
      for (std::int32_t p = 0; p < sequence.done; ++p)
        ASSERT_EQ(content[sequence.pages[static_cast<std::size_t>(p / kPageTokens)]]
                         [static_cast<std::size_t>(p % kPageTokens)],
                  sequence.tokens[static_cast<std::size_t>(p)])
            << "operation " << operation;
    }
  }
  for (const SequenceId id : live) table.drop(id);
  const PageAllocator& pages = table.pages(ModelSlot::kMain);
  EXPECT_EQ(pages.free_pages() + pages.idle_pages(), kPages);
  EXPECT_GT(reused, 1000);
}

TEST(Scheduler, ACachedPrefixSaysTheSame) {
  constexpr std::int32_t kVocabulary = 24;
  std::vector<TokenId> prompt;
  for (TokenId i = 0; i < 21; ++i) prompt.push_back(i % 7);
  for (const bool cache : {false, true}) {
    Scheduler scheduler({64, kPageTokens, 40, 0, cache});
    FakeModel model(kVocabulary, kPageTokens);
    std::vector<std::vector<TokenId>> said;
    std::vector<std::int32_t> cached;
    for (int turn = 0; turn < 6; ++turn) {
      Request request;
      request.prompt = prompt;
      request.prompt.back() = turn % 3;
      request.max_tokens = 9;
      scheduler.add(request);
      said.emplace_back();
      while (const auto plan = scheduler.next())
        for (const Progress& progress : scheduler.commit(*plan, model.run(*plan))) {
          said.back().push_back(progress.row.token);
          if (progress.finished) cached.push_back(progress.cached_tokens);
        }
      EXPECT_EQ(scheduler.pages_in_use(), 0);
      if (turn >= 3) {
        EXPECT_EQ(said[static_cast<std::size_t>(turn)], said[static_cast<std::size_t>(turn) - 3]);
      }
    }
    std::vector<TokenId> tokens = prompt;
    tokens.back() = 0;
    for (int i = 0; i < 9; ++i) {
      const std::vector<float> logits = model.logits(tokens);
      tokens.push_back(static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    }
    EXPECT_EQ(said[0], std::vector<TokenId>(tokens.begin() + 21, tokens.end()));
    EXPECT_EQ(cached,
              cache ? (std::vector<std::int32_t>{0, 20, 20, 20, 20, 20}) : std::vector<std::int32_t>(6, 0));
  }
}

}  // namespace
}  // namespace llm_tp

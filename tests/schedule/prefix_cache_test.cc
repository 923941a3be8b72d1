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

using Pages = std::vector<PageId>;
using Tokens = std::vector<TokenId>;

Pages pages_of(const std::vector<PrefixIndex::CachePage>& all) {
  Pages pages;
  for (const auto& one : all) pages.push_back(one.page);
  return pages;
}
/// Pages [0, pages.size()) of the tokens in the only cache.
Pages add(PrefixIndex& index, const Tokens& tokens, const Pages& pages) {
  const PageRun run{0, pages};
  return pages_of(index.add(tokens, pages.size(), {&run, 1}));
}
Pages found(PrefixIndex& index, const Tokens& tokens, std::size_t most) {
  return index.find(tokens, most).runs.at(0).pages;
}
const PrefixIndex::IsIdle kAllIdle = [](const PrefixIndex::CachePage&) { return true; };

TEST(PrefixIndex, TheLongestKnownBeginningIsFound) {
  PrefixIndex index(2, {0});
  const Tokens tokens{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(add(index, tokens, {7, 8, 9}), (Pages{7, 8, 9}));
  EXPECT_EQ(found(index, tokens, 9), (Pages{7, 8, 9}));
  EXPECT_EQ(found(index, tokens, 2), (Pages{7, 8}));
  EXPECT_EQ(found(index, {1, 2, 3, 4, 5}, 9), (Pages{7, 8}));
  EXPECT_EQ(found(index, {1, 2, 3, 5}, 9), (Pages{7}));
  EXPECT_TRUE(found(index, {3, 4, 5, 6}, 9).empty());
  // The same content on another page: the known one stays, and nothing is hung behind it.
  EXPECT_TRUE(add(index, {1, 2, 9, 9}, {5, 6}).empty());
}

TEST(PrefixIndex, TheLeafUnusedLongestGoesFirst) {
  PrefixIndex index(1, {0});
  add(index, {1, 2}, {10, 11});
  add(index, {1, 3}, {10, 12});
  found(index, {1, 2}, 9);
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{12}));
  EXPECT_TRUE(index.evict(0, [](const auto& p) { return p.page != 11; }).empty());
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{11}));
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{10}));
  EXPECT_TRUE(index.evict(0, kAllIdle).empty());
}

TEST(PrefixIndex, ABeginningNeedsTheLastPagesOfALookbackAlone) {
  PrefixIndex index(2, {3});
  const Tokens tokens{1, 2, 3, 4, 5, 6, 7, 8};
  const PageRun late{2, {5, 6}}, earlier{1, {4, 5}};
  EXPECT_EQ(pages_of(index.add(tokens, 4, {&late, 1})), (Pages{5, 6}));
  const PrefixIndex::Found all = index.find(tokens, 9);  // the next token needs positions 5 to 7
  EXPECT_EQ(all.length, 4U);
  EXPECT_EQ(all.runs[0].pages_before, 2);
  EXPECT_EQ(all.runs[0].pages, (Pages{5, 6}));
  // Of three pages the last two are needed, and page 1 is not there.
  EXPECT_EQ(index.find(tokens, 3).length, 0U);
  EXPECT_EQ(pages_of(index.add(tokens, 3, {&earlier, 1})), (Pages{4}));
  EXPECT_EQ(index.find(tokens, 3).length, 3U);
  EXPECT_EQ(index.find(tokens, 3).runs[0].pages_before, 1);
  EXPECT_EQ(found(index, tokens, 3), (Pages{4, 5}));
}

TEST(PrefixIndex, AnyIdlePageOfALookbackMayGo) {
  PrefixIndex index(1, {1});
  add(index, {1, 2, 3}, {10, 11, 12});
  EXPECT_EQ(pages_of(index.evict(0, [](const auto& p) { return p.page != 12; })), (Pages{10}));
  EXPECT_EQ(found(index, {1, 2, 3}, 9), (Pages{12}));
  EXPECT_EQ(pages_of(index.evict(0, [](const auto& p) { return p.page == 12; })), (Pages{12}));
  EXPECT_EQ(found(index, {1, 2, 3}, 9), (Pages{11}));
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{11}));
  EXPECT_TRUE(index.evict(0, kAllIdle).empty());
  EXPECT_EQ(index.find(Tokens{1, 2, 3}, 9).length, 0U);
}

TEST(PrefixIndex, ABeginningNeedsItsPagesInEveryCache) {
  PrefixIndex index(1, {0, 1});
  const Tokens tokens{1, 2, 3};
  const std::vector<PageRun> runs{{0, {10, 11, 12}}, {1, {21, 22}}};
  EXPECT_EQ(index.add(tokens, 3, runs).size(), 5U);
  EXPECT_EQ(index.find(tokens, 9).length, 3U);
  EXPECT_EQ(index.find(tokens, 2).length, 2U);
  EXPECT_EQ(index.find(tokens, 1).length, 0U);  // page 0 is in one cache alone
  EXPECT_EQ(pages_of(index.evict(1, [](const auto& p) { return p.page == 22; })), (Pages{22}));
  EXPECT_EQ(index.find(tokens, 9).length, 2U);
  EXPECT_EQ(index.find(tokens, 9).runs[1].pages, (Pages{21}));
  // A leaf that goes from the cache that needs all pages goes from the others too.
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{12}));
  EXPECT_TRUE(index.evict(0, [](const auto& p) { return p.page != 21; }).empty());
  EXPECT_EQ(pages_of(index.evict(0, kAllIdle)), (Pages{11, 21}));
}

/// Every page that a sequence needs holds that sequence's tokens, whatever was done before. The lookbacks of
/// the caches, 0: none.
class RandomOperations : public testing::TestWithParam<std::vector<std::int32_t>> {};

TEST_P(RandomOperations, KeepEveryPageRight) {
  constexpr std::int32_t kPages = 60;
  const std::vector<std::int32_t> lookbacks = GetParam();
  std::vector<CacheLimits> caches;
  for (const std::int32_t lookback : lookbacks) caches.push_back({kPages, lookback});
  SequenceTable table(kPageTokens, caches, {}, true);
  std::mt19937 random(5);
  const auto draw = [&](std::int32_t below) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(below));
  };
  std::map<std::pair<std::size_t, PageId>, std::vector<TokenId>> content;
  std::vector<SequenceId> live;
  std::int64_t reused = 0, promised = 0;
  std::map<SequenceId, std::int32_t> room;
  // How far a cut may reach back: to where pages were last given back, which is what a lookback counts from.
  std::map<SequenceId, std::int32_t> planned;
  const bool all_pages = lookbacks == std::vector<std::int32_t>{0};
  const auto pages_for = [](std::int32_t positions) { return (positions + kPageTokens - 1) / kPageTokens; };
  const auto first_needed = [&](std::size_t cache, std::int32_t done) {
    return lookbacks[cache] > 0 ? std::max(0, done - lookbacks[cache]) : 0;
  };
  const auto page_at = [&](const SequenceTable::Sequence& sequence, std::size_t cache,
                           std::int32_t position) -> std::vector<TokenId>& {
    const PageRun& run = sequence.runs.at(cache);
    const auto number = static_cast<std::size_t>(position / kPageTokens - run.pages_before);
    auto& page = content[{cache, run.pages.at(number)}];
    page.resize(kPageTokens, -1);
    return page;
  };
  for (int operation = 0; operation < 100000; ++operation) {
    const std::int32_t kind = draw(10);
    if (kind < 2) {
      std::vector<TokenId> tokens(static_cast<std::size_t>(1 + draw(30)));
      for (TokenId& token : tokens) token = draw(8) == 0 ? 1 : 0;
      const std::int32_t needed = static_cast<std::int32_t>(tokens.size()) + 12;
      if (promised + pages_for(needed) > kPages) continue;
      promised += pages_for(needed);
      const SequenceId id = table.start(ModelSlot::kMain, tokens, draw(4) != 0);
      reused += table.get(id).done;
      ASSERT_LT(table.get(id).done, static_cast<std::int32_t>(tokens.size()));
      room[id] = needed;
      planned[id] = table.get(id).done;
      live.push_back(id);
    } else if (!live.empty()) {
      const std::size_t at = static_cast<std::size_t>(draw(static_cast<std::int32_t>(live.size())));
      const SequenceId id = live[at];
      const auto& sequence = table.get(id);
      const auto length = static_cast<std::int32_t>(sequence.tokens.size());
      if (kind < 6 && sequence.waiting() > 0) {
        const std::int32_t rows = 1 + draw(sequence.waiting());
        std::vector<PageCopy> copies;
        table.prepare(id, rows, copies);
        planned[id] = sequence.done;
        for (const PageCopy& copy : copies) {
          const auto cache = static_cast<std::size_t>(copy.cache);
          content[{cache, copy.to}] = content[{cache, copy.from}];
        }
        for (std::size_t cache = 0; cache < caches.size(); ++cache) {
          ASSERT_LE(sequence.runs[cache].pages_before, first_needed(cache, sequence.done) / kPageTokens);
          ASSERT_GE(sequence.runs[cache].pages_before, first_needed(cache, sequence.done) / kPageTokens);
          for (std::int32_t p = sequence.done; p < sequence.done + rows; ++p)
            page_at(sequence, cache, p)[static_cast<std::size_t>(p % kPageTokens)] =
                sequence.tokens[static_cast<std::size_t>(p)];
        }
        table.advance(id, rows);
      } else if (kind == 6 && length < room[id]) {
        table.append(id, std::vector<TokenId>{draw(2)});
      } else if (kind == 7 && length > 1) {
        const std::int32_t shortest = all_pages ? 1 : std::max(1, planned[id]);
        if (shortest < length) table.cut(id, shortest + draw(length - shortest));
      } else if (kind == 8 && promised + pages_for(room[id]) <= kPages) {
        promised += pages_for(room[id]);
        const SequenceId copy = table.fork(id);
        room[copy] = room[id];
        planned[copy] = planned[id];
        live.push_back(copy);
      } else if (kind == 9) {
        promised -= pages_for(room[id]);
        table.drop(id);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    if (operation % 50 != 0) continue;
    for (const SequenceId id : live) {
      const auto& sequence = table.get(id);
      for (std::size_t cache = 0; cache < caches.size(); ++cache)
        for (std::int32_t p = first_needed(cache, sequence.done); p < sequence.done; ++p)
          ASSERT_EQ(page_at(sequence, cache, p)[static_cast<std::size_t>(p % kPageTokens)],
                    sequence.tokens[static_cast<std::size_t>(p)])
              << "operation " << operation << ", cache " << cache;
    }
  }
  for (const SequenceId id : live) table.drop(id);
  for (const PageAllocator& pages : table.pages(ModelSlot::kMain))
    EXPECT_EQ(pages.free_pages() + pages.idle_pages(), kPages);
  EXPECT_GT(reused, 1000);
}

INSTANTIATE_TEST_SUITE_P(Lookbacks, RandomOperations,
                         testing::Values(std::vector<std::int32_t>{0}, std::vector<std::int32_t>{3},
                                         std::vector<std::int32_t>{0, 9}, std::vector<std::int32_t>{20, 6}));

TEST(Scheduler, ACachedPrefixSaysTheSame) {
  constexpr std::int32_t kVocabulary = 24;
  std::vector<TokenId> prompt;
  for (TokenId i = 0; i < 21; ++i) prompt.push_back(i % 7);
  for (const bool cache : {false, true}) {
    Scheduler scheduler({64, kPageTokens, {{40}}, {}, cache});
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

TEST(Scheduler, AConversationGoesOnFromTheLastWindowThatIsKept) {
  constexpr std::int32_t kLookback = FakeModel::kWindow - 1;
  for (const std::vector<CacheLimits>& caches :
       std::vector<std::vector<CacheLimits>>{{{60}}, {{60, kLookback}}, {{60}, {60, kLookback}}}) {
    Scheduler scheduler({64, kPageTokens, caches, {}, true});
    FakeModel model(24, kPageTokens);
    std::vector<TokenId> tokens(21, 3);
    for (int turn = 0; turn < 8; ++turn) {
      Request request;
      request.prompt = tokens;
      request.max_tokens = 9;
      scheduler.add(request);
      std::int32_t cached = 0;
      while (const auto plan = scheduler.next())
        for (const Progress& progress : scheduler.commit(*plan, model.run(*plan))) {
          const std::vector<float> logits = model.logits(tokens);
          EXPECT_EQ(progress.row.token, std::max_element(logits.begin(), logits.end()) - logits.begin());
          tokens.push_back(progress.row.token);
          cached = progress.cached_tokens;
        }
      // All but the last token of the turn before, which was never run.
      const std::int32_t run = static_cast<std::int32_t>(request.prompt.size()) - 4;
      EXPECT_EQ(cached, turn == 0 ? 0 : run / kPageTokens * kPageTokens);
      tokens.insert(tokens.end(), 3, turn);
    }
  }
}

}  // namespace
}  // namespace llm_tp

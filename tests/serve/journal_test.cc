#include "serve/journal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "base/error.h"
#include "temporary_folder.h"

namespace llm_tp {
namespace {

std::string record(const std::string& id) { return "{\"custom_id\":\"" + id + "\",\"response\":{}}"; }

TEST(Journal, EveryCutOfTheLastRecordIsRepaired) {
  const TemporaryFolder folder;
  const std::string whole = record("a") + "\n", path = folder / "out.jsonl";
  const std::string both = whole + record("b") + "\n";
  for (std::size_t length = whole.size(); length < both.size(); ++length) {
    write_file(path, both.substr(0, length));
    Journal journal(path);
    EXPECT_EQ(journal.records(), 1) << length;
    EXPECT_EQ(journal.meet("a"), Journal::Meeting::kAnswered);
    EXPECT_EQ(journal.meet("b"), Journal::Meeting::kNew);
    journal.append(record("b"));
    EXPECT_EQ(read_file(path), both) << length;
  }
}

TEST(Journal, ZerosThatADyingHostLeftAreCutOff) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.jsonl";
  write_file(path, record("a") + "\n" + std::string(4096, '\0') + "\n" + std::string(100, '\0'));
  const Journal journal(path);
  EXPECT_EQ(journal.records(), 1);
  EXPECT_EQ(read_file(path), record("a") + "\n");
}

TEST(Journal, AFileOfSomethingElseIsNotTouched) {
  const TemporaryFolder folder;
  for (const std::string& text :
       {record("a") + "\nnotes\n" + record("b") + "\n", std::string("one\ntwo\nthree\n")}) {
    const std::string path = folder / "notes.txt";
    write_file(path, text);
    try {
      const Journal journal(path);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
    }
    EXPECT_EQ(read_file(path), text);
  }
}

TEST(Journal, AnIdThatComesTwiceIsTold) {
  const TemporaryFolder folder;
  Journal journal(folder / "out.jsonl");
  EXPECT_EQ(journal.meet("a"), Journal::Meeting::kNew);
  EXPECT_EQ(journal.meet("a"), Journal::Meeting::kRepeated);
}

TEST(Journal, ARecordThatDoesNotFitLeavesNothingHalf) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.jsonl";
  Journal journal(path);
  journal.append(record("a"));
  // The limit on a file's size cuts a write short, as a full disk does.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{record("a").size() + 10, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(journal.append(record("b")), Error);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(read_file(path), record("a") + "\n");
  EXPECT_EQ(journal.records(), 1);
  journal.append(record("b"));
  EXPECT_EQ(lines_of(path).size(), 2u);
}

TEST(LineReader, LinesOfAllLengthsComeWhole) {
  const TemporaryFolder folder;
  const std::string path = folder / "lines";
  std::vector<std::string> lines{
      "", "a", std::string(65535, 'b'), std::string(65536, 'c'), std::string(65537, 'd'), "", "e"};
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  for (const bool last_ends : {true, false}) {
    write_file(path, last_ends ? text : text.substr(0, text.size() - 1));
    LineReader reader(path);
    std::string line;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      ASSERT_TRUE(reader.next(line)) << i;
      EXPECT_EQ(line, lines[i]) << i;
      EXPECT_EQ(reader.number(), static_cast<std::int64_t>(i) + 1);
      EXPECT_EQ(reader.ended(), last_ends || i + 1 < lines.size());
    }
    EXPECT_FALSE(reader.next(line));
    EXPECT_EQ(reader.offset(), reader.size());
  }
}

TEST(LineReader, ALineTooLongIsPassedOver) {
  const TemporaryFolder folder;
  const std::string path = folder / "lines";
  write_file(path, std::string(LineReader::kLongestLine + 10, 'x') + "\nnext\n");
  LineReader reader(path);
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_TRUE(reader.too_long());
  EXPECT_TRUE(line.empty());
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "next");
}

TEST(TextDigest, ManyIdsDiffer) {
  std::unordered_map<TextDigest, int, TextDigestHash> seen;
  for (int i = 0; i < 200000; ++i) ++seen[TextDigest::of("request-" + std::to_string(i))];
  EXPECT_EQ(seen.size(), 200000u);
}

}  // namespace
}  // namespace llm_tp

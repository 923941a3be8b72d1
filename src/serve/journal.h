#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace llm_tp {

/// 128 bits that stand for a text: a million custom_ids fit a few tens of megabytes.
struct TextDigest {
  std::uint64_t high = 0, low = 0;
  static TextDigest of(std::string_view text) noexcept;
  bool operator==(const TextDigest&) const = default;
};
struct TextDigestHash {
  std::size_t operator()(const TextDigest& d) const noexcept { return static_cast<std::size_t>(d.low); }
};

/// The output of a batch job: one JSON record a line, appended, never rewritten, so that a job killed at any
/// moment leaves whole records and at most one torn line at the end. A record that append() returned from
/// survives the death of the process; one before the last sync() survives the death of the host. Not
/// thread-safe.
class Journal {
 public:
  /// Opens or makes the file, cuts off a torn end, and learns whose answers are there. Errors: kBadData where
  /// a line before the end is no record with a custom_id: the file is something else; kIoError.
  explicit Journal(std::string path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  enum class Meeting { kNew, kAnswered, kRepeated };
  /// What is known of an id of the input: its answer is there from an earlier run, or the input had it
  /// before.
  Meeting meet(std::string_view custom_id);
  std::int64_t records() const noexcept { return records_; }
  std::int64_t cut_bytes() const noexcept { return cut_bytes_; }  // of a torn end, at the start
  /// One line without its end. Errors: kTryAgain for a full disk or quota; kIoError. The file then ends with
  /// the record before, as far as the file system still answers.
  void append(std::string record);
  /// Errors: as append.
  void sync();

 private:
  void learn();
  [[noreturn]] void fail(const char* what, int reason);

  std::string path_;
  int file_ = -1;
  std::int64_t size_ = 0;  // of whole records
  std::int64_t records_ = 0, cut_bytes_ = 0;
  bool dirty_ = false;
  std::unordered_map<TextDigest, bool, TextDigestHash> met_;  // of every id: the input had it
};

/// Reads a file line by line in bounded memory.
class LineReader {
 public:
  static constexpr std::size_t kLongestLine = std::size_t{16} << 20;
  /// Errors: kMissingFile.
  explicit LineReader(const std::string& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  /// The next line without its end; false at the end of the file. A line that is too long comes empty,
  /// too_long() true. Errors: kIoError.
  bool next(std::string& line);
  bool too_long() const noexcept { return too_long_; }
  bool ended() const noexcept { return ended_; }  // the last line had its line end
  std::int64_t number() const noexcept { return number_; }
  std::int64_t offset() const noexcept { return offset_; }  // bytes behind the reader
  std::int64_t size() const noexcept { return size_; }

 private:
  std::string path_;
  int file_ = -1;
  std::string buffer_;
  std::size_t at_ = 0;
  bool end_of_file_ = false, too_long_ = false, ended_ = false;
  std::int64_t number_ = 0, offset_ = 0, size_ = 0;
};

}  // namespace llm_tp

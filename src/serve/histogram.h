#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace llm_tp {

/// Counts lengths of time in buckets of equal ratio, 20 a decade from 0.1 ms to 1000 s: any number of them in
/// one size of memory, and quantiles right within 6%. Not thread-safe.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 140;
  static double lower_bound(std::size_t bucket);  // seconds

  /// What lies outside the buckets counts for the first or the last one.
  void add(double seconds);
  std::uint64_t count() const noexcept { return count_; }
  double max() const noexcept { return max_; }
  double mean() const noexcept { return count_ > 0 ? sum_ / static_cast<double>(count_) : 0; }
  /// The value that a share q of all lies below; 0 of none.
  double quantile(double q) const;
  const std::array<std::uint64_t, kBuckets>& buckets() const noexcept { return buckets_; }

 private:
  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  double sum_ = 0, max_ = 0;
};

}  // namespace llm_tp

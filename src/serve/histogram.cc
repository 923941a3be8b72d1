#include "serve/histogram.h"

#include <algorithm>
#include <cmath>

namespace llm_tp {
namespace {
constexpr double kLeast = 1e-4, kBucketsPerDecade = 20;
}

double Histogram::lower_bound(std::size_t bucket) {
  return kLeast * std::pow(10.0, static_cast<double>(bucket) / kBucketsPerDecade);
}

void Histogram::add(double seconds) {
  const double place = seconds > kLeast ? std::log10(seconds / kLeast) * kBucketsPerDecade : 0;
  ++buckets_[static_cast<std::size_t>(std::min(place, static_cast<double>(kBuckets - 1)))];
  ++count_;
  sum_ += seconds;
  max_ = std::max(max_, seconds);
}

double Histogram::quantile(double q) const {
  const double wanted = q * static_cast<double>(count_);
  double before = 0;
  for (std::size_t b = 0; b < kBuckets && count_ > 0; ++b) {
    const auto here = static_cast<double>(buckets_[b]);
    if (here > 0 && before + here >= wanted) {
      const double share = std::max(0.0, (wanted - before) / here);
      return std::min(max_, lower_bound(b) * std::pow(10.0, share / kBucketsPerDecade));
    }
    before += here;
  }
  return max_;
}

}  // namespace llm_tp

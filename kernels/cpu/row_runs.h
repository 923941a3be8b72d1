#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// Below this many numbers, waking the pool costs more than it saves.
constexpr std::int64_t kSmallJob = 16384;

/// Calls work(begin, end) for runs of rows that cover [0, rows), over the pool or, for a small job, on this
/// thread. For work where a row depends on nothing but that row, so that the cut cannot be seen in the
/// result.
template <class Work>
void run_rows(ThreadPool& pool, std::int64_t rows, std::int64_t numbers_a_row, Work&& work) {
  if (rows <= 0) return;
  if (rows == 1 || rows * numbers_a_row < kSmallJob || pool.threads() == 1) {
    work(std::int64_t{0}, rows);
    return;
  }
  const std::int64_t runs = std::min<std::int64_t>(rows, 4 * pool.threads());
  pool.run(static_cast<int>(runs), [&](int run, int) { work(rows * run / runs, rows * (run + 1) / runs); });
}

}  // namespace llm_tp

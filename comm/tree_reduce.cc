#include "comm/tree_reduce.h"

#include <cstring>
#include <string>

#include "base/error.h"

namespace llm_tp {
namespace {

// 2 KiB a subtree: the partial sums of a dozen subtrees stay in the first-level cache.
constexpr std::int64_t kPieceElements = 512;

void add(float* out, const float* left, const float* right, std::int64_t elements) {
  for (std::int64_t i = 0; i < elements; ++i) out[i] = left[i] + right[i];
}

}  // namespace

TreeParts::TreeParts(std::vector<Range> leaf_runs) {
  std::vector<TreeRoot> roots;
  std::int64_t next_leaf = 0;
  for (const Range& run : leaf_runs) {
    int count = 0;
    if (!run.empty()) {
      LLM_TP_CHECK(run.begin == next_leaf, "leaf runs must cover all leaves once, in rank order; leaf " +
                                               std::to_string(next_leaf) + " is next, a run begins at " +
                                               std::to_string(run.begin));
      next_leaf = run.end;
      for (const TreeRoot& root : roots_of(run)) {
        roots.push_back(root);
        ++count;
      }
    }
    firsts_.push_back(total_);
    counts_.push_back(count);
    total_ += count;
  }
  LLM_TP_CHECK(total_ > 0, "a sum needs a leaf on some rank");
  additions_ = additions_above(roots);
}

void Communicator::sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room,
                                TensorView mine, const TreeParts& parts) {
  sum_tree(room, mine, parts);
  ops.add_norm(norm, room);
}

void evaluate_tree(std::span<const TreeAddition> additions, std::span<const float* const> roots, float* out,
                   std::int64_t elements) {
  LLM_TP_CHECK(!roots.empty(), "a tree without roots");
  if (additions.empty()) {
    std::memcpy(out, roots[0], static_cast<std::size_t>(elements) * sizeof(float));
    return;
  }
  if (additions.size() == 1) {
    add(out, roots[0], roots[1], elements);
    return;
  }
  // Kept from call to call: a sum is made twice a layer.
  thread_local std::vector<float> partial_sums;
  thread_local std::vector<const float*> value_of;
  partial_sums.resize(roots.size() * kPieceElements);
  value_of.resize(roots.size());
  for (std::int64_t begin = 0; begin < elements; begin += kPieceElements) {
    const std::int64_t count = std::min(kPieceElements, elements - begin);
    for (std::size_t i = 0; i < roots.size(); ++i) value_of[i] = roots[i] + begin;
    for (const TreeAddition& addition : additions) {
      const auto into = static_cast<std::size_t>(addition.into);
      // Slot 0 ends as the sum of the tree, so its partial sums may lie in out from the start.
      float* const sum = into == 0 ? out + begin : partial_sums.data() + into * kPieceElements;
      add(sum, value_of[into], value_of[static_cast<std::size_t>(addition.from)], count);
      value_of[into] = sum;
    }
  }
}

std::int64_t checked_elements(TensorView out, TensorView mine, const TreeParts& parts, int rank, int world) {
  LLM_TP_CHECK(parts.world() == world, "sum_tree: parts of " + std::to_string(parts.world()) +
                                           " ranks, group of " + std::to_string(world));
  LLM_TP_CHECK(out.dtype == DType::kF32 && out.rank == 2, "sum_tree: out must be f32 [T,N]");
  const std::int64_t elements = out.shape[0] * out.shape[1];
  const std::int64_t roots = parts.roots_of_rank(rank);
  if (roots > 0 && elements > 0) {
    LLM_TP_CHECK(mine.dtype == DType::kF32 && !mine.empty(), "sum_tree: mine must be f32");
    LLM_TP_CHECK(mine.row_stride == mine.columns() || mine.rows() == 1, "sum_tree: mine must be contiguous");
    LLM_TP_CHECK(mine.rows() * mine.columns() == roots * elements,
                 "sum_tree: mine has " + std::to_string(mine.rows() * mine.columns()) + " numbers, wanted " +
                     std::to_string(roots) + " roots of " + std::to_string(elements));
  }
  return elements;
}

void check_shared_rows(TensorView out, TensorView mine, std::span<const int> owners, int world) {
  LLM_TP_CHECK(out.dtype == DType::kF32 && out.rank == 2, "share_rows: out must be f32 [T,N]");
  LLM_TP_CHECK(mine.dtype == DType::kF32 && mine.rank == 2 && mine.shape == out.shape,
               "share_rows: mine must be f32 and of the shape of out");
  LLM_TP_CHECK(static_cast<std::int64_t>(owners.size()) == out.shape[0], "share_rows: one owner a row");
  for (const int owner : owners) {
    LLM_TP_CHECK(owner >= 0 && owner < world, "share_rows: no rank " + std::to_string(owner));
  }
}

}  // namespace llm_tp

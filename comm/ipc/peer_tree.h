#pragma once
#include <algorithm>

#include "base/error.h"
#include "comm/communicator.h"
#include "kernels/cuda/peer_sums.h"

namespace llm_tp {

/// The parts of a sum as kernels take them. Errors: kBug for more roots than they take, which no model of up
/// to 8 ranks has.
inline PeerTree peer_tree_of(const TreeParts& parts, int rank) {
  LLM_TP_CHECK(parts.total_roots() <= PeerTree::kMostRoots, "a sum of more roots than a kernel takes");
  PeerTree tree{};
  tree.own = parts.roots_of_rank(rank);
  for (int r = 0, root = 0; r < parts.world(); ++r) {
    tree.most = std::max(tree.most, parts.roots_of_rank(r));
    for (int place = 0; place < parts.roots_of_rank(r); ++place, ++root) {
      tree.owner[root] = static_cast<std::uint8_t>(r);
      tree.place[root] = static_cast<std::uint8_t>(place);
    }
  }
  for (const TreeAddition& addition : parts.additions()) {
    tree.into[tree.additions] = static_cast<std::uint8_t>(addition.into);
    tree.from[tree.additions] = static_cast<std::uint8_t>(addition.from);
    ++tree.additions;
  }
  return tree;
}

}  // namespace llm_tp

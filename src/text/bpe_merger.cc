#include "text/bpe_merger.h"

#include <queue>

namespace llm_tp {
namespace {

struct Symbol {
  TokenId id;
  std::int32_t previous,
      next;  // places in the list, -1 at its ends; an id of -1 is a symbol that was joined to its left
};

struct Candidate {
  std::uint32_t rank;
  std::int32_t at;
  TokenId left, right, joined;
  bool operator<(const Candidate& other) const {  // the queue gives the greatest first
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

}  // namespace

BpeMerger::BpeMerger(const ByteIds& bytes, const std::vector<Merge>& merges) : bytes_(bytes) {
  rules_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    rules_[key(merges[rank].left, merges[rank].right)] = {static_cast<std::uint32_t>(rank),
                                                          merges[rank].joined};
  }
}

void BpeMerger::encode(std::string_view piece, std::vector<TokenId>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char byte : piece) {
    if (const auto id = bytes_[static_cast<unsigned char>(byte)]) {
      const auto at = static_cast<std::int32_t>(symbols.size());
      symbols.push_back({*id, at - 1, at + 1});
    }
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  const auto symbol = [&](std::int32_t at) -> Symbol& { return symbols[static_cast<std::size_t>(at)]; };

  std::vector<Candidate> initial;
  const auto candidate = [&](std::int32_t at) -> std::optional<Candidate> {
    if (at < 0 || symbol(at).next < 0) return std::nullopt;
    const TokenId left = symbol(at).id, right = symbol(symbol(at).next).id;
    const auto rule = rules_.find(key(left, right));
    if (rule == rules_.end()) return std::nullopt;
    return Candidate{rule->second.rank, at, left, right, rule->second.joined};
  };
  for (std::size_t at = 0; at + 1 < symbols.size(); ++at) {
    if (const auto found = candidate(static_cast<std::int32_t>(at))) initial.push_back(*found);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbol(best.at);
    // A candidate is stale where one of its two symbols was joined to something since it was queued.
    if (left.id != best.left || left.next < 0 || symbol(left.next).id != best.right) continue;
    Symbol& right = symbol(left.next);
    left.id = best.joined;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbol(left.next).previous = best.at;
    if (const auto found = candidate(left.previous)) queue.push(*found);
    if (const auto found = candidate(best.at)) queue.push(*found);
  }
  for (std::int32_t at = 0; at >= 0; at = symbol(at).next) out.push_back(symbol(at).id);
}

}  // namespace llm_tp

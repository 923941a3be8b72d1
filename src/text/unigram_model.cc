#include "text/unigram_model.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "text/byte_tokens.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

constexpr double kUnknownPenalty = 10;

std::uint64_t edge(std::uint32_t node, char byte) {
  return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}

}  // namespace

UnigramModel::UnigramModel(const std::vector<Entry>& entries, std::optional<TokenId> unknown,
                           bool byte_fallback)
    : nodes_{-1}, unknown_(unknown), byte_fallback_(byte_fallback) {
  double lowest = std::numeric_limits<double>::infinity();
  for (std::size_t id = 0; id < entries.size(); ++id) {
    const Entry& entry = entries[id];
    lowest = std::min(lowest, entry.score);
    scores_.push_back(entry.score);
    if (entry.text.empty()) continue;
    std::uint32_t node = 0;
    for (const char byte : entry.text) {
      const auto [next, fresh] =
          children_.emplace(edge(node, byte), static_cast<std::uint32_t>(nodes_.size()));
      if (fresh) nodes_.push_back(-1);
      node = next->second;
    }
    nodes_[node] = static_cast<TokenId>(id);
    if (const auto byte = byte_of_token(entry.text)) bytes_[*byte] = static_cast<TokenId>(id);
  }
  unknown_score_ = lowest - kUnknownPenalty;
}

std::uint32_t UnigramModel::child(std::uint32_t node, char byte) const {
  const auto found = children_.find(edge(node, byte));
  return found == children_.end() ? 0 : found->second;
}

void UnigramModel::put_unknown(std::string_view text, std::vector<TokenId>& out) const {
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size() && (i == 0 || node != 0); ++i) node = child(node, text[i]);
  if (node != 0 && nodes_[node] >= 0) return out.push_back(nodes_[node]);  // the unknown token's own text
  const auto id_of = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
  if (byte_fallback_ && std::all_of(text.begin(), text.end(), id_of)) {
    for (const char byte : text) out.push_back(*id_of(byte));
    return;
  }
  out.push_back(*unknown_);
}

std::size_t UnigramModel::encode(std::string_view piece, std::vector<TokenId>& out) const {
  std::vector<Step> best(piece.size() + 1);  // the best way to each place
  std::size_t steps = 0;
  const auto offer = [&](std::size_t begin, std::size_t end, double score, TokenId id) {
    Step& at_end = best[end];
    if (at_end.begin == kNone || best[begin].score + score > at_end.score)
      at_end = {best[begin].score + score, begin, id};
  };
  for (std::size_t at = 0; at < piece.size();) {
    const auto character = static_cast<std::size_t>(utf8_step(piece, at).bytes);
    bool covered = false;
    std::uint32_t node = 0;
    for (std::size_t end = at; end < piece.size(); ++steps) {
      node = child(node, piece[end]);
      if (node == 0) break;
      ++end;
      const TokenId id = nodes_[node];
      if (id < 0) continue;
      offer(at, end, scores_[static_cast<std::size_t>(id)], id);
      covered |= end == at + character;
    }
    if (!covered) {
      if (!unknown_) {
        throw Error(ExitCode::kBadData,
                    "tokenizer.json: model.unk_id is null, and the text has the character \"" +
                        std::string(piece.substr(at, character)) + "\", for which there is no token");
      }
      offer(at, at + character, unknown_score_, -1);
    }
    at += character;
  }
  std::vector<Step> way;
  std::vector<std::size_t> ends;
  for (std::size_t end = piece.size(); end > 0; end = best[end].begin) {
    const Step& step = best[end];
    const bool unknown = step.id < 0 || step.id == unknown_;
    if (unknown && !way.empty() && way.back().id < 0) {
      way.back().begin = step.begin;
    } else {
      way.push_back({0, step.begin, unknown ? -1 : step.id});
      ends.push_back(end);
    }
  }
  for (std::size_t i = way.size(); i-- > 0;) {
    if (way[i].id >= 0) {
      out.push_back(way[i].id);
    } else {
      put_unknown(piece.substr(way[i].begin, ends[i] - way[i].begin), out);
    }
  }
  return steps + piece.size();
}

}  // namespace llm_tp

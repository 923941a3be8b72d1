#include "text/bpe_model.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "base/error.h"
#include "text/byte_tokens.h"
#include "text/utf8.h"

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
  TokenId joined;
  bool operator<(const Candidate& other) const {  // the queue gives the greatest first
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

}  // namespace

BpeModel::BpeModel(const Tokens& tokens, Rules rules) : rules_(std::move(rules)) {
  const std::vector<Merge> merges = std::exchange(rules_.merges, {});
  pairs_.reserve(merges.size());
  for (const Merge& merge : merges) pairs_[key(merge.left, merge.right)] = {merge.rank, merge.joined};
  for (const auto& [text, id] : tokens) {
    if (text.empty()) continue;
    const Utf8Step first = utf8_step(text, 0);
    if (first.kind == Utf8Step::Kind::kWhole && static_cast<std::size_t>(first.bytes) == text.size())
      characters_.emplace(first.code_point, id);
    if (const auto byte = byte_of_token(text)) bytes_[*byte] = id;
    if (rules_.ignore_merges) whole_pieces_.emplace(text, id);
  }
}

const BpeModel::Rule* BpeModel::rule_of(TokenId left, TokenId right) const {
  const auto found = pairs_.find(key(left, right));
  return found == pairs_.end() ? nullptr : &found->second;
}

std::vector<TokenId> BpeModel::ids_of_characters(std::string_view piece) const {
  std::vector<TokenId> ids;
  ids.reserve(piece.size());
  bool unknown = false;  // one is held back: more may join it
  const auto put_unknown = [&] {
    if (std::exchange(unknown, false)) ids.push_back(*rules_.unknown);
  };
  for (std::size_t at = 0; at < piece.size();) {
    const Utf8Step step = utf8_step(piece, at);
    const std::string_view bytes = piece.substr(at, static_cast<std::size_t>(step.bytes));
    at += bytes.size();
    const auto id_of_byte = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
    const auto found = characters_.find(step.code_point);
    if (found != characters_.end()) {
      put_unknown();
      ids.push_back(found->second);
    } else if (rules_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), id_of_byte)) {
      for (const char byte : bytes) ids.push_back(*id_of_byte(byte));
    } else if (rules_.unknown) {
      if (!rules_.fuse_unknown) put_unknown();
      unknown = true;
    } else if (!rules_.missing_unknown.empty()) {
      throw Error(ExitCode::kBadData,
                  "tokenizer.json: model.unk_token is \"" + rules_.missing_unknown.substr(0, 100) +
                      "\", which model.vocab does not hold, and the text has the character \"" +
                      std::string(bytes) + "\", for which there is no token");
    }
  }
  put_unknown();
  return ids;
}

std::size_t BpeModel::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    out.push_back(whole->second);
    return 1;
  }
  std::vector<Symbol> symbols;
  for (const TokenId id : ids_of_characters(piece)) {
    const auto at = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return 0;
  symbols.back().next = -1;
  const auto symbol = [&](std::int32_t at) -> Symbol& { return symbols[static_cast<std::size_t>(at)]; };
  const auto rule_at = [&](std::int32_t at) -> const Rule* {
    if (at < 0 || symbol(at).next < 0) return nullptr;
    return rule_of(symbol(at).id, symbol(symbol(at).next).id);
  };

  std::vector<Candidate> initial;
  for (std::int32_t at = 0; symbol(at).next >= 0; ++at) {
    if (const Rule* rule = rule_at(at)) initial.push_back({rule->rank, at, rule->joined});
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  std::size_t steps = symbols.size();
  const auto look_at = [&](std::int32_t at) {
    if (const Rule* rule = rule_at(at)) queue.push({rule->rank, at, rule->joined});
  };
  for (; !queue.empty(); ++steps) {
    const Candidate best = queue.top();
    queue.pop();
    // Stale where one of the two was joined to something since: the pair that is there now gives another
    // token.
    const Rule* rule = rule_at(best.at);
    if (rule == nullptr || rule->joined != best.joined) continue;
    Symbol& left = symbol(best.at);
    Symbol& right = symbol(left.next);
    left.id = best.joined;
    left.next = right.next;
    right.id = right.next = -1;
    if (left.next >= 0) symbol(left.next).previous = best.at;
    look_at(left.previous);
    look_at(best.at);
  }
  for (std::int32_t at = 0; at >= 0; at = symbol(at).next) out.push_back(symbol(at).id);
  return steps;
}

}  // namespace llm_tp

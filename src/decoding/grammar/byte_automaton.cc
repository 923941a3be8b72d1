#include "decoding/grammar/byte_automaton.h"

#include <algorithm>

namespace llm_tp {

ByteAutomaton::ByteAutomaton(Network network) : network_(std::move(network)), frames_{{-1, -1}} {
  // A state only ends its rule where all it can do is skip to such states; found by taking away the others.
  only_ends_.assign(network_.states.size(), true);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < network_.states.size(); ++i) {
      const Network::StateData& s = network_.states[i];
      const bool goes_on = !s.bytes.empty() || !s.calls.empty() ||
                           std::any_of(s.skips.begin(), s.skips.end(), [&](Network::State to) {
                             return !only_ends_[static_cast<std::size_t>(to)];
                           });
      if (only_ends_[i] && goes_on) only_ends_[i] = false, changed = true;
    }
  }
  start_ = intern({{network_.start, 0}});
}

ByteAutomaton::Stack ByteAutomaton::push(Frame frame) {
  // A call at the very end of a rule goes back to the rule's own caller: right recursion needs no stack.
  if (only_ends_[static_cast<std::size_t>(frame.back)]) return frame.below;
  const auto [at, is_new] = frame_ids_.emplace(frame, static_cast<Stack>(frames_.size()));
  if (is_new) frames_.push_back(frame);
  return at->second;
}

/// Adds everything that can be reached from a place without a byte. False where that is too much.
bool ByteAutomaton::close(Place place, Set& set, std::set<Place>& seen) {
  std::vector<Place> open{place};
  while (!open.empty()) {
    const Place p = open.back();
    open.pop_back();
    if (!seen.insert(p).second) continue;
    if (seen.size() > kMostPlaces || ++work_ > kMostWork) return false;
    const Network::StateData& s = network_.states[static_cast<std::size_t>(p.at)];
    if (!s.bytes.empty()) set.places.push_back(p);
    for (const Network::State to : s.skips) open.push_back({to, p.stack});
    for (const Network::Call& call : s.calls) open.push_back({call.rule_start, push({call.back, p.stack})});
    if (!s.ends_rule) continue;
    if (p.stack == 0)
      set.accepts = true;
    else
      open.push_back({frames_[static_cast<std::size_t>(p.stack)].back,
                      frames_[static_cast<std::size_t>(p.stack)].below});
  }
  return true;
}

ByteAutomaton::State ByteAutomaton::intern(const std::vector<Place>& from) {
  Set set;
  std::set<Place> seen;
  for (const Place& p : from)
    if (!close(p, set, seen)) return kDead;
  if (set.places.empty() && !set.accepts) return kDead;
  std::sort(set.places.begin(), set.places.end());
  const auto known = set_ids_.find(set);
  if (known != set_ids_.end()) return known->second;
  if (sets_.size() >= kMostStates) return kDead;
  const auto state = static_cast<State>(sets_.size());
  sets_.push_back(set);
  set_ids_.emplace(std::move(set), state);
  rows_.emplace_back();
  return state;
}

ByteAutomaton::State ByteAutomaton::find_next(State state, std::uint8_t byte) {
  std::vector<Place> targets;
  for (const Place& p : sets_[static_cast<std::size_t>(state)].places)
    for (const Network::ByteEdge& edge : network_.states[static_cast<std::size_t>(p.at)].bytes)
      if (edge.first <= byte && byte <= edge.last) targets.push_back({edge.to, p.stack});
  const State to = targets.empty() ? kDead : intern(targets);
  auto& row = rows_[static_cast<std::size_t>(state)];
  if (!row) {
    row = std::make_unique<State[]>(256);
    std::fill_n(row.get(), 256, kUnknown);
  }
  return row[byte] = to;
}

int ByteAutomaton::only_byte(State state) const {
  const Set& set = sets_[static_cast<std::size_t>(state)];
  int only = -1;
  if (set.accepts) return -1;
  for (const Place& p : set.places)
    for (const Network::ByteEdge& edge : network_.states[static_cast<std::size_t>(p.at)].bytes) {
      if (edge.first != edge.last || (only >= 0 && only != edge.first)) return -1;
      only = edge.first;
    }
  return only;
}

}  // namespace llm_tp

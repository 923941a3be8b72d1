#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "decoding/grammar/network.h"

namespace llm_tp {

/// Follows a network byte by byte. A state is a set of places in the network, each with its stack of callers;
/// states and their transitions are made when they are first needed and kept. Not thread-safe.
class ByteAutomaton {
 public:
  using State = std::int32_t;
  static constexpr State kDead = -1;
  // A grammar that is ambiguous without end has states of ever more places. Beyond these bounds new states
  // are dead.
  static constexpr std::size_t kMostStates = std::size_t{1} << 18;
  static constexpr std::size_t kMostPlaces = std::size_t{1} << 16;  // looked at for one state
  static constexpr std::size_t kMostWork = std::size_t{1} << 23;    // places looked at for all states

  explicit ByteAutomaton(Network network);
  State start() const noexcept { return start_; }
  State next(State state, std::uint8_t byte) {
    const auto& row = rows_[static_cast<std::size_t>(state)];
    if (row) {
      const State known = row[byte];
      if (known != kUnknown) return known;
    }
    return find_next(state, byte);
  }
  bool accepts(State state) const { return sets_[static_cast<std::size_t>(state)].accepts; }
  bool has_next(State state) const { return !sets_[static_cast<std::size_t>(state)].places.empty(); }
  /// The byte that must come next, where there is only one and the text cannot end here; else -1.
  int only_byte(State state) const;

 private:
  static constexpr State kUnknown = -2;
  using Stack = std::int32_t;  // index of frames_; 0: empty
  struct Place {
    Network::State at;
    Stack stack;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Set {
    std::vector<Place> places;  // those that consume a byte, ascending
    bool accepts = false;
    friend auto operator<=>(const Set&, const Set&) = default;
  };
  struct Frame {
    Network::State back;
    Stack below;
    friend auto operator<=>(const Frame&, const Frame&) = default;
  };

  State find_next(State state, std::uint8_t byte);
  State intern(const std::vector<Place>& from);
  bool close(Place place, Set& set, std::set<Place>& seen);
  Stack push(Frame frame);

  Network network_;
  std::vector<bool> only_ends_;  // of network states: nothing but the end of the rule follows
  std::vector<Frame> frames_;
  std::map<Frame, Stack> frame_ids_;
  std::vector<Set> sets_;
  std::map<Set, State> set_ids_;
  std::vector<std::unique_ptr<State[]>> rows_;  // by state, 256 each
  std::size_t work_ = 0;                        // places looked at so far
  State start_ = kDead;
};

}  // namespace llm_tp

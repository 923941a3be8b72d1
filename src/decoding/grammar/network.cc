#include "decoding/grammar/network.h"

#include <algorithm>

#include "base/error.h"

namespace llm_tp {
namespace {

using Kind = Grammar::Kind;

/// What must hold of a grammar before it is compiled.
class Checks {
 public:
  Checks(const Grammar& grammar, const std::string& what) : grammar_(grammar), what_(what) {}

  void run() {
    for (Grammar::Rule r = 0; r < static_cast<Grammar::Rule>(grammar_.rules()); ++r)
      if (grammar_.body(r) < 0) refuse(r, "has no body: define it");
    const std::vector<bool> ends =
        least_fixpoint([&](const auto& known, Grammar::Node n) { return can_end(known, n); });
    for (Grammar::Rule r = 0; r < static_cast<Grammar::Rule>(grammar_.rules()); ++r)
      if (!ends[static_cast<std::size_t>(r)])
        refuse(r, "never comes to an end: give it an alternative without itself");
    nullable_ = least_fixpoint([&](const auto& known, Grammar::Node n) { return can_be_empty(known, n); });
    state_.assign(grammar_.rules(), 0);
    for (Grammar::Rule r = 0; r < static_cast<Grammar::Rule>(grammar_.rules()); ++r) visit(r);
  }

 private:
  [[noreturn]] void refuse(Grammar::Rule rule, const std::string& why) const {
    throw Error(ExitCode::kUsage, what_ + ": the rule \"" + grammar_.name(rule) + "\" " + why);
  }

  template <class Test>
  std::vector<bool> least_fixpoint(Test test) const {
    std::vector<bool> known(grammar_.rules(), false);
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t r = 0; r < known.size(); ++r)
        if (!known[r] && test(known, grammar_.body(static_cast<Grammar::Rule>(r)))) known[r] = changed = true;
    }
    return known;
  }

  bool can_end(const std::vector<bool>& known, Grammar::Node n) const {
    const Grammar::NodeData& d = grammar_.node(n);
    const auto child = [&](Grammar::Node c) { return can_end(known, c); };
    if (d.kind == Kind::kBytes) return d.bytes.any();
    if (d.kind == Kind::kRule) return known[static_cast<std::size_t>(d.rule)];
    if (d.kind == Kind::kRepeat) return d.least == 0 || child(d.children[0]);
    if (d.kind == Kind::kSequence) return std::all_of(d.children.begin(), d.children.end(), child);
    return std::any_of(d.children.begin(), d.children.end(), child);
  }

  bool can_be_empty(const std::vector<bool>& known, Grammar::Node n) const {
    const Grammar::NodeData& d = grammar_.node(n);
    const auto child = [&](Grammar::Node c) { return can_be_empty(known, c); };
    if (d.kind == Kind::kBytes) return false;
    if (d.kind == Kind::kRule) return known[static_cast<std::size_t>(d.rule)];
    if (d.kind == Kind::kRepeat) return d.least == 0 || child(d.children[0]);
    if (d.kind == Kind::kSequence) return std::all_of(d.children.begin(), d.children.end(), child);
    return std::any_of(d.children.begin(), d.children.end(), child);
  }

  /// Depth first over the rules that another may begin with.
  void visit(Grammar::Rule rule) {
    char& state = state_[static_cast<std::size_t>(rule)];
    if (state == 2) return;
    if (state == 1) refuse(rule, "begins with itself (left recursion): let it begin with something else");
    state = 1;
    visit_first(grammar_.body(rule));
    state_[static_cast<std::size_t>(rule)] = 2;
  }
  void visit_first(Grammar::Node n) {
    const Grammar::NodeData& d = grammar_.node(n);
    if (d.kind == Kind::kRule) return visit(d.rule);
    for (Grammar::Node c : d.children) {
      visit_first(c);
      if (d.kind == Kind::kSequence && !can_be_empty(nullable_, c)) return;
    }
  }

  const Grammar& grammar_;
  const std::string& what_;
  std::vector<bool> nullable_;
  std::vector<char> state_;  // 0 not seen, 1 on the way, 2 done
};

class Compiler {
 public:
  Compiler(const Grammar& grammar, const std::string& what) : grammar_(grammar), what_(what) {}

  Network run() {
    for (std::size_t r = 0; r < grammar_.rules(); ++r) starts_.push_back(add_state());
    for (std::size_t r = 0; r < grammar_.rules(); ++r) {
      const Network::State end = compile(grammar_.body(static_cast<Grammar::Rule>(r)), starts_[r]);
      at(end).ends_rule = true;
    }
    network_.start = starts_[static_cast<std::size_t>(grammar_.start())];
    return std::move(network_);
  }

 private:
  Network::StateData& at(Network::State s) { return network_.states[static_cast<std::size_t>(s)]; }
  Network::State add_state() {
    if (network_.states.size() >= Network::kMostStates)
      throw Error(ExitCode::kUsage, what_ + ": needs more than " + std::to_string(Network::kMostStates) +
                                        " states, which is the bound; use smaller repeat counts");
    network_.states.emplace_back();
    return static_cast<Network::State>(network_.states.size()) - 1;
  }

  /// Builds the node from `from` on; returns where it ends.
  Network::State compile(Grammar::Node n, Network::State from) {
    const Grammar::NodeData& d = grammar_.node(n);
    switch (d.kind) {
      case Kind::kBytes: {
        const Network::State to = add_state();
        for (unsigned b = 0; b < 256; ++b) {
          if (!d.bytes[b]) continue;
          unsigned last = b;
          while (last < 255 && d.bytes[last + 1]) ++last;
          at(from).bytes.push_back({static_cast<std::uint8_t>(b), static_cast<std::uint8_t>(last), to});
          b = last;
        }
        return to;
      }
      case Kind::kSequence:
        for (Grammar::Node c : d.children) from = compile(c, from);
        return from;
      case Kind::kAlternatives: {
        const Network::State to = add_state();
        for (Grammar::Node c : d.children) {
          const Network::State begin = add_state();
          at(from).skips.push_back(begin);
          const Network::State end = compile(c, begin);
          at(end).skips.push_back(to);
        }
        return to;
      }
      case Kind::kRule: {
        const Network::State to = add_state();
        at(from).calls.push_back({starts_[static_cast<std::size_t>(d.rule)], to});
        return to;
      }
      case Kind::kRepeat:
        break;
    }
    return compile_repeat(d, from);
  }

  Network::State compile_repeat(const Grammar::NodeData& d, Network::State from) {
    for (std::int32_t i = 0; i < d.least; ++i) from = compile(d.children[0], from);
    if (d.most == Grammar::kUnbounded) {
      const Network::State loop = add_state(), out = add_state();
      at(from).skips.push_back(loop);
      const Network::State end = compile(d.children[0], loop);
      at(end).skips.push_back(loop);
      at(loop).skips.push_back(out);
      return out;
    }
    const Network::State out = add_state();
    for (std::int32_t i = d.least; i < d.most; ++i) {
      at(from).skips.push_back(out);
      const Network::State begin = add_state();
      at(from).skips.push_back(begin);
      from = compile(d.children[0], begin);
    }
    at(from).skips.push_back(out);
    return out;
  }

  const Grammar& grammar_;
  const std::string& what_;
  Network network_;
  std::vector<Network::State> starts_;
};

}  // namespace

Network Network::compile(const Grammar& grammar, const std::string& what) {
  Checks(grammar, what).run();
  return Compiler(grammar, what).run();
}

}  // namespace llm_tp

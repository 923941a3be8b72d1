#pragma once
#include <mutex>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// Lets the ranks of a group that are threads of one process compute one at a time, as one device wants it: a
/// rank holds the turn but for the time it spends in calls of its group.
class Turn {
 public:
  explicit Turn(std::mutex& one_at_a_time) : lock_(one_at_a_time) {}
  /// call() while others have their turn.
  template <class Call>
  auto hand_on_for(const Call& call) {
    lock_.unlock();
    const TakeBack take_back{lock_};
    return call();
  }

 private:
  struct TakeBack {
    std::unique_lock<std::mutex>& lock;
    ~TakeBack() { lock.lock(); }
  };
  std::unique_lock<std::mutex> lock_;
};

/// The group of `inner`; both must outlive this.
class CommunicatorInTurn : public Communicator {
 public:
  CommunicatorInTurn(Communicator& inner, Turn& turn) : inner_(inner), turn_(turn) {}
  int rank() const override { return inner_.rank(); }
  int world() const override { return inner_.world(); }
  std::string description() const override { return inner_.description() + ", one after the other"; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override {
    turn_.hand_on_for([&] { inner_.sum_tree(out, mine, parts); });
  }
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override {
    turn_.hand_on_for([&] { inner_.share_rows(out, mine, owners); });
  }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override {
    return turn_.hand_on_for([&] { return inner_.gather(mine); });
  }
  CallTimes times() const override { return inner_.times(); }

 private:
  Communicator& inner_;
  Turn& turn_;
};

class ChannelInTurn : public ControlChannel {
 public:
  ChannelInTurn(ControlChannel& inner, Turn& turn) : inner_(inner), turn_(turn) {}
  int rank() const override { return inner_.rank(); }
  int world() const override { return inner_.world(); }
  void broadcast(std::vector<std::byte>& bytes) override {
    turn_.hand_on_for([&] { inner_.broadcast(bytes); });
  }
  void abort(ExitCode code) noexcept override { inner_.abort(code); }

 private:
  ControlChannel& inner_;
  Turn& turn_;
};

}  // namespace llm_tp

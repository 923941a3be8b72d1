#pragma once
#include <chrono>

#include "comm/communicator.h"
#include "comm/patience.h"

namespace llm_tp {

/// Whether the other ranks still come, for a rank that waits for a device that waits for theirs. One thread.
class RankWatch {
 public:
  /// limit: a rank that lets others wait longer is taken for lost; 0: never. host must outlive this.
  RankWatch(Communicator& host, std::chrono::milliseconds limit)
      : host_(host), limit_(limit), patience_(limit) {}
  /// To be asked every few milliseconds; look: how often this wait has looked before. call: what waits, for
  /// the message. Errors: kTryAgain where a rank was lost or does not come.
  void look(int look, const char* call);

 private:
  Communicator& host_;
  std::chrono::milliseconds limit_;
  Patience patience_;
};

}  // namespace llm_tp

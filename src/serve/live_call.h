#pragma once
#include <functional>
#include <mutex>
#include <vector>

#include "serve/call_in_flight.h"

namespace llm_tp {

/// A call of the server: the engine's thread puts in what happens, the server's takes it out. What waits is
/// bounded by the answer itself, so a slow reader holds up nobody. Once over, the server's thread may use all
/// of CallInFlight.
class LiveCall : public CallInFlight {
 public:
  using CallInFlight::CallInFlight;

  // The server's thread:
  /// `wake` is called on the engine's thread when there is something new after take().
  void on_news(std::function<void()> wake);
  struct News {
    std::vector<AnswerPiece> pieces;  // of a stream; else empty
    bool over = false;
  };
  News take();

 private:
  void has_grown(AnswerPiece&& piece) override;
  void is_over() override;
  void tell();

  std::mutex mutex_;
  News news_;
  bool told_ = false;
  std::function<void()> wake_;
};

}  // namespace llm_tp

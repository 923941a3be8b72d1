#pragma once
#include <memory>
#include <string>

#include "engine/service.h"
#include "serve/call_clock.h"

namespace llm_tp {

/// The server's counters, gauges and histograms, by the names that docs/serving.md lists. Any thread.
class Metrics : public CallMeter {
 public:
  Metrics();
  ~Metrics() override;
  /// What is heard of calls is told to this one too. Before the first call.
  void also_tell(CallMeter& other) { other_ = &other; }
  /// A request was answered with this status; endpoint is a path of the API.
  void answered(const std::string& endpoint, int status);
  void first_token(double seconds) override;
  void token_gap(double seconds) override;
  void whole(double seconds) override;
  void tokens(const Usage& usage) override;
  void connections(std::int64_t open);
  void step(double seconds);  // of the model
  /// Text exposition format, with the service's state of this moment; null while it loads.
  std::string text(const ServiceState* state);

 private:
  struct Registry;
  void take_ranks(const ServiceState& state);
  std::unique_ptr<Registry> registry_;
  CallMeter* other_ = nullptr;
};

}  // namespace llm_tp

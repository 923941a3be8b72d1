#pragma once
#include <memory>
#include <string>

#include "engine/service.h"

namespace llm_tp {

/// The server's counters, gauges and histograms, by the names that docs/serving.md lists. Any thread.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  /// A request was answered with this status; endpoint is a path of the API.
  void answered(const std::string& endpoint, int status);
  void tokens(std::int64_t prompt, std::int64_t cached, std::int64_t generated);
  void first_token(double seconds);  // since the request came
  void token_gap(double seconds);    // between two tokens of one sequence
  void whole(double seconds);        // since the request came
  void connections(std::int64_t open);
  void step(double seconds);  // of the model
  /// Text exposition format, with the service's state of this moment; null while it loads.
  std::string text(const ServiceState* state);

 private:
  struct Registry;
  void take_ranks(const ServiceState& state);
  std::unique_ptr<Registry> registry_;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <memory>

#include "config/engine_config.h"
#include "serve/api.h"

namespace llm_tp {

/// HTTP/1.1 in front of an Api: one thread of its own, one coroutine a connection. Headers have at most 16
/// KiB and, with the body, 60 s to arrive. A client that leaves has its call cancelled, whether it runs or
/// waits. SIGTERM, SIGINT and SIGUSR1 drain: calls that run get config.grace seconds.
class HttpServer {
 public:
  /// Listens at once. Errors: kUnavailable where the address cannot be had.
  HttpServer(const ServeConfig& config, Api& api);
  /// Ends what is left and waits for the thread.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  std::uint16_t port() const noexcept;
  /// Takes no more connections, lets replies that are on their way out go out, and ends the thread. Any
  /// thread but its own.
  void finish();
  /// Ends the thread at once, whatever is on its way: for an engine that failed.
  void abandon();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llm_tp

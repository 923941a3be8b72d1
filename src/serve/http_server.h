#pragma once
#include <cstdint>
#include <memory>

#include "config/engine_config.h"
#include "serve/api.h"

namespace llm_tp {

/// HTTP/1.1 in front of an Api, under TLS where the configuration names a certificate: one thread of its own,
/// one coroutine a connection. Headers have at most 16 KiB and, with the body, config.request_timeout to
/// arrive; a TLS handshake has the same. A client that leaves has its call cancelled, whether it runs or
/// waits. SIGTERM, SIGINT and SIGUSR1 drain: calls that run get config.grace seconds.
/// With TLS, SIGHUP reads the certificate and the key again.
class HttpServer {
 public:
  /// Listens at once. Errors: kUnavailable where the address cannot be had; those of use_tls_files.
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

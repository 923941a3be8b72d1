// With http_session.h, the only file of the server that includes Boost.
#include "serve/http_server.h"

#include <sys/resource.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "serve/http_session.h"
#include "serve/tls_files.h"

namespace llm_tp {
namespace {

/// More connections than the usual limit of 1024 descriptors; as far as the host lets us.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::unique_ptr<asio::ssl::context> tls_of(const ServeConfig& config) {
  if (config.tls_cert.empty() != config.tls_key.empty())
    throw Error(ExitCode::kConfig, std::string("serve.") +
                                       (config.tls_cert.empty() ? "tls_cert" : "tls_key") +
                                       " is missing: a certificate and its key go together");
  if (config.tls_cert.empty()) return nullptr;
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  use_tls_files(context->native_handle(), config.tls_cert, config.tls_key);
  return context;
}

}  // namespace

struct HttpServer::State {
  State(const ServeConfig& config, Api& api) : host(config, api), tls(tls_of(config)) {
    if (tls) signals.add(SIGHUP);
  }

  asio::awaitable<void> accept_all();
  asio::awaitable<void> connection(tcp::socket socket);
  asio::awaitable<void> serve_plain(beast::tcp_stream stream);
  asio::awaitable<void> serve_tls(beast::tcp_stream stream);
  asio::awaitable<void> refuse_connection(tcp::socket socket);
  void act_on_signals();
  void renew_certificate();

  SessionHost host;
  std::unique_ptr<asio::ssl::context> tls;  // null: plain HTTP
  tcp::acceptor acceptor{host.io};
  asio::signal_set signals{host.io, SIGTERM, SIGINT, SIGUSR1};
  asio::steady_timer grace{host.io};
  std::thread thread;
};

asio::awaitable<void> HttpServer::State::serve_plain(beast::tcp_stream stream) {
  co_await HttpSession(host, stream).run();
  error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
}

asio::awaitable<void> HttpServer::State::serve_tls(beast::tcp_stream tcp_stream) {
  beast::ssl_stream<beast::tcp_stream> stream(std::move(tcp_stream), *tls);
  beast::tcp_stream& below = stream.next_layer();
  below.expires_after(seconds(host.config.request_timeout));
  host.idle.push_back(&below);
  const auto [failed] = co_await stream.async_handshake(asio::ssl::stream_base::server, kAwait);
  std::erase(host.idle, &below);
  if (failed) co_return;  // no TLS, or a client that left: there is nobody to tell
  co_await HttpSession(host, stream).run();
  below.expires_after(kLingerTime);
  co_await stream.async_shutdown(kAwait);
}

asio::awaitable<void> HttpServer::State::connection(tcp::socket socket) {
  host.api.metrics().connections(++host.open);
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  beast::tcp_stream stream(std::move(socket));
  if (tls)
    co_await serve_tls(std::move(stream));
  else
    co_await serve_plain(std::move(stream));
  host.api.metrics().connections(--host.open);
}

asio::awaitable<void> HttpServer::State::refuse_connection(tcp::socket socket) {
  if (tls) co_return;  // a handshake is what there is no room for
  beast::tcp_stream stream(std::move(socket));
  stream.expires_after(kLingerTime);
  HttpReply reply = Api::refusal(503, "too many connections are open");
  co_await HttpSession(host, stream).send(std::move(reply), 11, false);
}

asio::awaitable<void> HttpServer::State::accept_all() {
  while (true) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {  // out of descriptors: others will be closed
      asio::steady_timer pause(host.io, std::chrono::milliseconds(50));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (host.open >= host.config.max_connections)
      asio::co_spawn(host.io, refuse_connection(std::move(socket)), asio::detached);
    else
      asio::co_spawn(host.io, connection(std::move(socket)), asio::detached);
  }
}

void HttpServer::State::renew_certificate() {
  try {
    tls = tls_of(host.config);
    log_info("TLS: new connections use the certificate that " + host.config.tls_cert + " holds now");
  } catch (const Error& error) {
    log_error(std::string("TLS: the certificate from before stays in use: ") + error.what());
  }
}

void HttpServer::State::act_on_signals() {
  signals.async_wait([this](const error_code& error, int signal) {
    if (error) return;
    act_on_signals();
    if (signal == SIGHUP) return renew_certificate();
    log_info("told to stop: no more requests are taken, those that run get " +
             std::to_string(host.config.grace) + " s");
    host.api.drain();
    grace.expires_after(seconds(host.config.grace));
    grace.async_wait([this](const error_code& cancelled) {
      if (!cancelled) host.api.stop();
    });
  });
}

HttpServer::HttpServer(const ServeConfig& config, Api& api) : state_(std::make_unique<State>(config, api)) {
  raise_descriptor_limit();
  State& state = *state_;
  const std::string where = config.host + ":" + std::to_string(config.port);
  error_code error;
  const auto address = asio::ip::make_address(config.host == "localhost" ? "127.0.0.1" : config.host, error);
  if (error)
    throw Error(ExitCode::kConfig,
                "serve.host: \"" + config.host + "\" is not an address; write 127.0.0.1 or 0.0.0.0");
  const tcp::endpoint endpoint(address, static_cast<std::uint16_t>(config.port));
  state.acceptor.open(endpoint.protocol(), error);
  if (!error) state.acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) state.acceptor.bind(endpoint, error);
  if (!error) state.acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    throw Error(ExitCode::kUnavailable,
                "cannot listen at " + where + ": " + error.message() + "; choose another --port");
  asio::co_spawn(state.host.io, state.accept_all(), asio::detached);
  state.act_on_signals();
  state.thread = std::thread([&state] { state.host.io.run(); });
}

std::uint16_t HttpServer::port() const noexcept { return state_->acceptor.local_endpoint().port(); }

void HttpServer::finish() {
  if (!state_->thread.joinable()) return;
  asio::post(state_->host.io, [this] {
    State& state = *state_;
    state.host.finishing = true;
    state.grace.cancel();
    state.signals.cancel();
    error_code ignored;
    state.acceptor.close(ignored);
    for (beast::tcp_stream* stream : state.host.idle) stream->cancel();
  });
  state_->thread.join();  // once every connection ended by itself
}

void HttpServer::abandon() {
  SessionHost& host = state_->host;
  host.io.stop();
  if (state_->thread.joinable()) state_->thread.join();
  for (asio::thread_pool* worker : {&host.short_work, &host.long_work}) {
    worker->stop();
    worker->join();  // what it is at uses the model
  }
}

HttpServer::~HttpServer() { finish(); }

}  // namespace llm_tp

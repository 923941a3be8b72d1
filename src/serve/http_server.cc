// The only file of the server that includes Boost.
#include "serve/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace llm_tp {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::seconds;

// Errors as values: most of them are clients that left.
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::uint32_t kMostHeaderBytes = 16384;
constexpr seconds kRequestTime{60};  // from the end of the last reply to the whole next request
constexpr seconds kLingerTime{2};

int status_of(const error_code& error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  if (error == beast::error::timeout) return 408;
  return 400;
}

/// Whether a failed read is worth an answer: the peer spoke HTTP, or tried to.
bool deserves_reply(const error_code& error) {
  return error != http::error::end_of_stream && error != beast::error::timeout &&
         error.category() == make_error_code(http::error::bad_method).category();
}

/// More connections than the usual limit of 1024 descriptors; as far as the host lets us.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Watches for the client's end of the connection while nothing is read from it.
class HangUpWatch : public std::enable_shared_from_this<HangUpWatch> {
 public:
  HangUpWatch(tcp::socket& socket, std::function<void()> gone) : socket_(socket), gone_(std::move(gone)) {}
  void start() {
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
      if (error || self->stopped_) return;
      char byte = 0;
      const ssize_t n = ::recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      // Bytes of a next request that came early say that it is there; from then on only a failed write tells.
      if (n > 0) return;
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return self->start();
      self->gone_();
    });
  }
  void stop() {
    stopped_ = true;
    error_code ignored;
    socket_.cancel(ignored);
  }

 private:
  tcp::socket& socket_;
  std::function<void()> gone_;
  bool stopped_ = false;
};

using Reply = http::response<http::string_body>;

Reply message_of(HttpReply reply, unsigned version, bool keep_alive) {
  Reply message{static_cast<http::status>(reply.status), version};
  message.set(http::field::server, "llm-tp");
  message.set(http::field::content_type, reply.content_type);
  for (const auto& [name, value] : reply.headers) message.set(name, value);
  message.keep_alive(keep_alive);
  message.body() = std::move(reply.body);
  message.prepare_payload();
  return message;
}

HttpRequest request_of(http::request<http::string_body>&& message) {
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string target(message.target());
  request.path = target.substr(0, target.find('?'));
  request.authorization = std::string(message[http::field::authorization]);
  request.body = std::move(message.body());
  return request;
}

}  // namespace

struct HttpServer::State {
  State(const ServeConfig& serve_config, Api& served) : config(serve_config), api(served) {}

  asio::awaitable<void> accept_all();
  asio::awaitable<void> connection(tcp::socket socket);
  asio::awaitable<void> refuse_connection(tcp::socket socket);
  asio::awaitable<bool> answer(beast::tcp_stream& stream, http::request<http::string_body> message);
  asio::awaitable<bool> run_call(beast::tcp_stream& stream, std::shared_ptr<LiveCall> call, unsigned version,
                                 bool keep_alive);
  asio::awaitable<bool> send_stream(beast::tcp_stream& stream, LiveCall& call, asio::steady_timer& wake,
                                    unsigned version, const bool& gone);
  asio::awaitable<bool> send(beast::tcp_stream& stream, HttpReply reply, unsigned version, bool keep_alive);
  asio::awaitable<bool> send_text(beast::tcp_stream& stream, const std::string& text);
  asio::awaitable<void> linger(beast::tcp_stream& stream);
  void drain_on_signal();

  const ServeConfig config;
  Api& api;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::signal_set signals{io, SIGTERM, SIGINT, SIGUSR1};
  asio::steady_timer grace{io};
  std::int64_t open = 0;
  bool finishing = false;
  std::vector<beast::tcp_stream*> idle;  // connections that wait for a request
  std::thread thread;
};

asio::awaitable<bool> HttpServer::State::send_text(beast::tcp_stream& stream, const std::string& text) {
  stream.expires_after(seconds(config.write_timeout));
  const auto [error, bytes] = co_await asio::async_write(stream, asio::buffer(text), kAwait);
  static_cast<void>(bytes);
  co_return !error;
}

asio::awaitable<bool> HttpServer::State::send(beast::tcp_stream& stream, HttpReply reply, unsigned version,
                                              bool keep_alive) {
  Reply message = message_of(std::move(reply), version, keep_alive);
  stream.expires_after(seconds(config.write_timeout));
  const auto [error, bytes] = co_await http::async_write(stream, message, kAwait);
  static_cast<void>(bytes);
  co_return !error && keep_alive;
}

/// A client that is still sending would lose the reply if the connection were closed under it.
asio::awaitable<void> HttpServer::State::linger(beast::tcp_stream& stream) {
  error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  std::array<char, 16384> waste{};
  stream.expires_after(kLingerTime);
  for (int part = 0; part < 256; ++part) {
    const auto [error, bytes] = co_await stream.async_read_some(asio::buffer(waste), kAwait);
    if (error || bytes == 0) break;
  }
}

/// Sends events as they come. Returns whether the stream ended as it should.
asio::awaitable<bool> HttpServer::State::send_stream(beast::tcp_stream& stream, LiveCall& call,
                                                     asio::steady_timer& wake, unsigned version,
                                                     const bool& gone) {
  const bool chunked = version >= 11;
  StreamRenderer renderer = api.renderer(call);
  std::string text = std::string(
                         "HTTP/1.1 200 OK\r\nServer: llm-tp\r\nContent-Type: text/event-stream\r\n"
                         "Cache-Control: no-cache\r\nX-Request-Id: ") +
                     call.call().id +
                     (chunked ? "\r\nTransfer-Encoding: chunked\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
  std::string events;
  const auto add = [&](const std::string& data) { events += "data: " + data + "\n\n"; };
  for (const std::string& chunk : renderer.opening()) add(chunk);
  bool over = false;
  while (true) {
    LiveCall::News news = call.take();
    for (const AnswerPiece& piece : news.pieces)
      if (const auto chunk = renderer.chunk(piece)) add(*chunk);
    over = news.over;
    if (over && call.end() == JobEnd::kDone) {
      if (call.call().request.include_usage) add(renderer.usage(call.answer().usage()));
      add("[DONE]");
    } else if (over) {
      add(api.reply_of(call).body);  // an error in the midst of a stream, as OpenAI's clients read it
    }
    if (!events.empty()) {
      if (chunked) {
        std::array<char, 24> size{};
        std::snprintf(size.data(), size.size(), "%zx\r\n", events.size());
        text += size.data() + events + "\r\n";
        if (over) text += "0\r\n\r\n";
      } else {
        text += events;
      }
      if (gone || !co_await send_text(stream, text)) co_return false;
      text.clear();
      events.clear();
      // News that came while this was sent found nobody waiting: they are looked for before the next wait.
      if (!over) continue;
    }
    if (over) co_return call.end() == JobEnd::kDone;
    if (gone) co_return false;
    wake.expires_at(asio::steady_timer::time_point::max());
    co_await wake.async_wait(kAwait);
  }
}

asio::awaitable<bool> HttpServer::State::run_call(beast::tcp_stream& stream, std::shared_ptr<LiveCall> call,
                                                  unsigned version, bool keep_alive) {
  // The engine's thread wakes this coroutine through the timer, which may be gone by then.
  auto wake = std::make_shared<asio::steady_timer>(io);
  call->on_news([this, weak = std::weak_ptr(wake)] {
    asio::post(io, [weak] {
      if (const auto timer = weak.lock()) timer->cancel();
    });
  });
  bool gone = false;
  const auto watch = std::make_shared<HangUpWatch>(stream.socket(), [this, &gone, call, wake] {
    gone = true;
    api.cancel(*call);
    wake->cancel();
  });
  watch->start();
  bool good = false;
  if (call->call().request.stream) {
    good = co_await send_stream(stream, *call, *wake, version, gone);
    keep_alive = keep_alive && version >= 11;
    if (!good) api.cancel(*call);
  }
  // The reply of a call that is not streamed, and the end of one whose client left: the engine still holds
  // it.
  while (!call->take().over) {
    wake->expires_at(asio::steady_timer::time_point::max());
    co_await wake->async_wait(kAwait);
  }
  watch->stop();
  call->on_news(nullptr);
  if (call->call().request.stream) {
    api.note(*call, good ? 200 : 499);
    co_return good&& keep_alive;
  }
  HttpReply reply = api.reply_of(*call);
  api.note(*call, gone ? 499 : reply.status);
  if (gone) co_return false;
  co_return co_await send(stream, std::move(reply), version, keep_alive);
}

/// Returns whether the connection goes on.
asio::awaitable<bool> HttpServer::State::answer(beast::tcp_stream& stream,
                                                http::request<http::string_body> message) {
  const unsigned version = message.version();
  const bool keep_alive = message.keep_alive() && !finishing;
  Api::Outcome outcome = api.handle(request_of(std::move(message)));
  if (auto* reply = std::get_if<HttpReply>(&outcome))
    co_return co_await send(stream, std::move(*reply), version, keep_alive);
  co_return co_await run_call(stream, std::get<std::shared_ptr<LiveCall>>(outcome), version, keep_alive);
}

asio::awaitable<void> HttpServer::State::connection(tcp::socket socket) {
  api.metrics().connections(++open);
  beast::tcp_stream stream(std::move(socket));
  error_code ignored;
  stream.socket().set_option(tcp::no_delay(true), ignored);
  beast::flat_buffer buffer(kMostHeaderBytes * 4);
  while (!finishing) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(kMostHeaderBytes);
    parser.body_limit(static_cast<std::uint64_t>(config.max_body));
    stream.expires_after(kRequestTime);
    idle.push_back(&stream);
    auto [error, bytes] = co_await http::async_read_header(stream, buffer, parser, kAwait);
    std::erase(idle, &stream);
    static_cast<void>(bytes);
    if (!error && beast::iequals(parser.get()[http::field::expect], "100-continue") &&
        !co_await send_text(stream, "HTTP/1.1 100 Continue\r\n\r\n"))
      break;
    if (!error) {
      stream.expires_after(kRequestTime);
      std::tie(error, bytes) = co_await http::async_read(stream, buffer, parser, kAwait);
    }
    if (error) {
      if (!deserves_reply(error)) break;
      const int status = status_of(error);
      api.metrics().answered("other", status);
      co_await send(stream, Api::refusal(status, "not a request that is read: " + error.message()), 11,
                    false);
      co_await linger(stream);
      break;
    }
    if (!co_await answer(stream, parser.release())) break;
  }
  stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream.close();
  api.metrics().connections(--open);
}

asio::awaitable<void> HttpServer::State::refuse_connection(tcp::socket socket) {
  beast::tcp_stream stream(std::move(socket));
  stream.expires_after(kLingerTime);
  HttpReply reply = Api::refusal(503, "too many connections are open");
  co_await send(stream, std::move(reply), 11, false);
}

asio::awaitable<void> HttpServer::State::accept_all() {
  while (true) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {  // out of descriptors: others will be closed
      asio::steady_timer pause(io, std::chrono::milliseconds(50));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (open >= config.max_connections)
      asio::co_spawn(io, refuse_connection(std::move(socket)), asio::detached);
    else
      asio::co_spawn(io, connection(std::move(socket)), asio::detached);
  }
}

void HttpServer::State::drain_on_signal() {
  signals.async_wait([this](const error_code& error, int) {
    if (error) return;
    log_info("told to stop: no more requests are taken, those that run get " + std::to_string(config.grace) +
             " s");
    api.drain();
    grace.expires_after(seconds(config.grace));
    grace.async_wait([this](const error_code& cancelled) {
      if (!cancelled) api.stop();
    });
    drain_on_signal();  // another signal changes nothing
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
  asio::co_spawn(state.io, state.accept_all(), asio::detached);
  state.drain_on_signal();
  state.thread = std::thread([&state] { state.io.run(); });
}

std::uint16_t HttpServer::port() const noexcept { return state_->acceptor.local_endpoint().port(); }

void HttpServer::finish() {
  if (!state_->thread.joinable()) return;
  asio::post(state_->io, [this] {
    State& state = *state_;
    state.finishing = true;
    state.grace.cancel();
    state.signals.cancel();
    error_code ignored;
    state.acceptor.close(ignored);
    for (beast::tcp_stream* stream : state.idle) stream->cancel();
  });
  state_->thread.join();  // once every connection ended by itself
}

void HttpServer::abandon() {
  state_->io.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

HttpServer::~HttpServer() { finish(); }

}  // namespace llm_tp

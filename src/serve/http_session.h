#pragma once
// One connection of the HTTP server; for http_server.cc alone, the only one of the server that includes
// Boost.
#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/engine_config.h"
#include "serve/api.h"

namespace llm_tp {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::seconds;

// Errors as values: most of them are clients that left.
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMostHeaderBytes = 16384;
constexpr seconds kLingerTime{2};
constexpr std::size_t kShortBody = 65536;

/// What the sessions of a server share. The server's thread alone uses it, but for what it hands to workers:
/// bodies are read and tokenized there, so that they hold up nobody's stream, and long ones no short one.
struct SessionHost {
  SessionHost(const ServeConfig& serve_config, Api& served) : config(serve_config), api(served) {}
  const ServeConfig config;
  Api& api;
  asio::io_context io{1};
  asio::thread_pool short_work{1}, long_work{1};
  std::int64_t open = 0;  // connections
  bool finishing = false;
  std::vector<beast::tcp_stream*> idle;  // connections that wait for a request
};

/// Reads ahead from a connection while its call runs, so that its end is noticed; bytes of a next request are
/// kept. `Stream` as of HttpSession.
template <class Stream>
class ReadAhead {
 public:
  /// Borrows all; `gone` is called at most once, when the client's end is closed or broken.
  ReadAhead(asio::io_context& io, Stream& stream, beast::flat_buffer& buffer, std::function<void()> gone)
      : stream_(stream), buffer_(buffer), gone_(std::move(gone)), ended_(io) {
    beast::get_lowest_layer(stream).expires_never();
    ended_.expires_at(asio::steady_timer::time_point::max());
    asio::co_spawn(io, read(), asio::detached);
  }
  /// Must be awaited before the connection is read again, and before this object ends.
  asio::awaitable<void> stop() {
    stopped_ = true;
    beast::get_lowest_layer(stream_).cancel();
    while (running_) co_await ended_.async_wait(kAwait);
  }

 private:
  asio::awaitable<void> read() {
    // A client that sends more than a whole header ahead is told from its failed writes alone.
    while (!stopped_ && buffer_.size() < kMostHeaderBytes) {
      const auto [error, bytes] = co_await stream_.async_read_some(buffer_.prepare(2048), kAwait);
      buffer_.commit(bytes);
      if (!error) continue;
      if (!stopped_) gone_();
      break;
    }
    running_ = false;
    ended_.cancel();
  }

  Stream& stream_;
  beast::flat_buffer& buffer_;
  std::function<void()> gone_;
  asio::steady_timer ended_;
  bool running_ = true, stopped_ = false;
};

/// Answers the requests of one connection, one after the other. Stream: beast::tcp_stream, or a TLS stream on
/// one, after its handshake.
template <class Stream>
class HttpSession {
 public:
  /// Borrows both.
  HttpSession(SessionHost& host, Stream& stream)
      : host_(host), stream_(stream), tcp_(beast::get_lowest_layer(stream)) {}
  /// Until the connection is over; it is left for the caller to close.
  asio::awaitable<void> run();
  /// Returns whether the connection goes on.
  asio::awaitable<bool> send(HttpReply reply, unsigned version, bool keep_alive, bool head = false);

 private:
  using Request = http::request<http::string_body>;
  asio::awaitable<bool> answer(Request message);
  asio::awaitable<Api::Outcome> handle(HttpRequest request);
  asio::awaitable<bool> run_call(std::shared_ptr<LiveCall> call, unsigned version, bool keep_alive);
  asio::awaitable<bool> send_stream(LiveCall& call, asio::steady_timer& wake, unsigned version,
                                    const bool& gone);
  asio::awaitable<bool> send_text(const std::string& text);
  asio::awaitable<void> linger();
  void limit_write() { tcp_.expires_after(seconds(host_.config.write_timeout)); }

  SessionHost& host_;
  Stream& stream_;
  beast::tcp_stream& tcp_;
  beast::flat_buffer buffer_{kMostHeaderBytes * 4};
};

inline int status_of_failed_read(const error_code& error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  if (error == beast::error::timeout) return 408;
  return 400;
}

/// Whether a failed read is worth an answer: the peer spoke HTTP, or tried to.
inline bool deserves_reply(const error_code& error) {
  return error != http::error::end_of_stream && error != beast::error::timeout &&
         error.category() == make_error_code(http::error::bad_method).category();
}

inline http::response<http::string_body> message_of(HttpReply reply, unsigned version, bool keep_alive,
                                                    bool head) {
  http::response<http::string_body> message{static_cast<http::status>(reply.status), version};
  message.set(http::field::server, "llm-tp");
  message.set(http::field::content_type, reply.content_type);
  for (const auto& [name, value] : reply.headers) message.set(name, value);
  message.keep_alive(keep_alive);
  message.content_length(reply.body.size());
  if (!head) message.body() = std::move(reply.body);  // HEAD: the length of what GET would give
  return message;
}

inline HttpRequest request_of(http::request<http::string_body>&& message) {
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string target(message.target());
  request.path = target.substr(0, target.find('?'));
  request.authorization = std::string(message[http::field::authorization]);
  request.body = std::move(message.body());
  return request;
}

template <class Stream>
asio::awaitable<bool> HttpSession<Stream>::send_text(const std::string& text) {
  for (auto rest = asio::buffer(text); rest.size() > 0;) {
    limit_write();  // anew for each part: whoever takes some is not cut off
    const auto [error, bytes] = co_await stream_.async_write_some(rest, kAwait);
    if (error) co_return false;
    rest += bytes;
  }
  co_return true;
}

template <class Stream>
asio::awaitable<bool> HttpSession<Stream>::send(HttpReply reply, unsigned version, bool keep_alive,
                                                bool head) {
  auto message = message_of(std::move(reply), version, keep_alive, head);
  http::response_serializer<http::string_body> rest(message);
  while (!rest.is_done()) {
    limit_write();
    const auto [error, bytes] = co_await http::async_write_some(stream_, rest, kAwait);
    static_cast<void>(bytes);
    if (error) co_return false;
  }
  co_return keep_alive;
}

/// A client that is still sending would lose the reply if the connection were closed under it.
template <class Stream>
asio::awaitable<void> HttpSession<Stream>::linger() {
  error_code ignored;
  tcp_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  std::array<char, 16384> waste{};
  tcp_.expires_after(kLingerTime);
  for (int part = 0; part < 256; ++part) {
    const auto [error, bytes] = co_await tcp_.async_read_some(asio::buffer(waste), kAwait);
    if (error || bytes == 0) break;
  }
}

/// Sends events as they come. Returns whether the stream ended as it should.
template <class Stream>
asio::awaitable<bool> HttpSession<Stream>::send_stream(LiveCall& call, asio::steady_timer& wake,
                                                       unsigned version, const bool& gone) {
  const bool chunked = version >= 11;
  StreamRenderer renderer = host_.api.renderer(call);
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
      add(host_.api.reply_of(call).body);  // an error in the midst of a stream, as OpenAI's clients read it
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
      if (gone || !co_await send_text(text)) co_return false;
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

template <class Stream>
asio::awaitable<bool> HttpSession<Stream>::run_call(std::shared_ptr<LiveCall> call, unsigned version,
                                                    bool keep_alive) {
  // The engine's thread wakes this coroutine through the timer, which may be gone by then.
  auto wake = std::make_shared<asio::steady_timer>(host_.io);
  call->on_news([&io = host_.io, weak = std::weak_ptr(wake)] {
    asio::post(io, [weak] {
      if (const auto timer = weak.lock()) timer->cancel();
    });
  });
  bool gone = false;
  ReadAhead<Stream> watch(host_.io, stream_, buffer_, [this, &gone, call, wake] {
    gone = true;
    host_.api.cancel(*call);
    wake->cancel();
  });
  bool good = false;
  if (call->call().request.stream) {
    good = co_await send_stream(*call, *wake, version, gone);
    keep_alive = keep_alive && version >= 11;
    if (!good) host_.api.cancel(*call);
  }
  // The reply of a call that is not streamed, and the end of one whose client left: the engine still holds
  // it.
  while (!call->take().over) {
    wake->expires_at(asio::steady_timer::time_point::max());
    co_await wake->async_wait(kAwait);
  }
  co_await watch.stop();
  call->on_news(nullptr);
  if (call->call().request.stream) {
    const bool left = gone || call->end() == JobEnd::kDone || call->end() == JobEnd::kCancelled;
    host_.api.note(*call, good ? 200 : left ? 499 : host_.api.reply_of(*call).status);
    co_return (good && keep_alive);
  }
  HttpReply reply = host_.api.reply_of(*call);
  host_.api.note(*call, gone ? 499 : reply.status);
  if (gone) co_return false;
  co_return co_await send(std::move(reply), version, keep_alive);
}

template <class Stream>
asio::awaitable<Api::Outcome> HttpSession<Stream>::handle(HttpRequest request) {
  if (request.body.empty()) co_return host_.api.handle(request);
  const auto work = [this, &request]() -> asio::awaitable<Api::Outcome> {
    co_return host_.api.handle(request);
  };
  asio::thread_pool& worker = request.body.size() <= kShortBody ? host_.short_work : host_.long_work;
  co_return co_await asio::co_spawn(worker, work, asio::use_awaitable);
}

/// Returns whether the connection goes on.
template <class Stream>
asio::awaitable<bool> HttpSession<Stream>::answer(Request message) {
  const unsigned version = message.version();
  const bool keep_alive = message.keep_alive() && !host_.finishing;
  const bool head = message.method() == http::verb::head;
  Api::Outcome outcome = co_await handle(request_of(std::move(message)));
  if (auto* reply = std::get_if<HttpReply>(&outcome))
    co_return co_await send(std::move(*reply), version, keep_alive, head);
  co_return co_await run_call(std::get<std::shared_ptr<LiveCall>>(outcome), version, keep_alive);
}

template <class Stream>
asio::awaitable<void> HttpSession<Stream>::run() {
  while (!host_.finishing) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(kMostHeaderBytes));
    parser.body_limit(static_cast<std::uint64_t>(host_.config.max_body));
    const auto deadline = std::chrono::steady_clock::now() + seconds(host_.config.request_timeout);
    tcp_.expires_at(deadline);
    host_.idle.push_back(&tcp_);
    auto [error, bytes] = co_await http::async_read_header(stream_, buffer_, parser, kAwait);
    const bool asks_to_go_on = !error && beast::iequals(parser.get()[http::field::expect], "100-continue");
    const bool was_told = !asks_to_go_on || co_await send_text("HTTP/1.1 100 Continue\r\n\r\n");
    if (!error && was_told) {
      tcp_.expires_at(deadline);
      std::tie(error, bytes) = co_await http::async_read(stream_, buffer_, parser, kAwait);
    }
    std::erase(host_.idle, &tcp_);
    if (!was_told) break;
    if (error) {
      if (!deserves_reply(error)) break;
      const int status = status_of_failed_read(error);
      host_.api.metrics().answered("other", status);
      co_await send(Api::refusal(status, "not a request that is read: " + error.message()), 11, false);
      co_await linger();
      break;
    }
    if (!co_await answer(parser.release())) break;
  }
}

}  // namespace llm_tp

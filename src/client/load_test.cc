#include "client/load_test.h"

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <exception>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "client/event_reader.h"
#include "client/server_address.h"

namespace llm_tp {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using namespace std::chrono_literals;

constexpr auto kPatience = 600s;  // without a byte of an answer

/// Random words; the first `shared` are those of every prompt.
std::string prompt_of(const LoadTestConfig& config, std::uint64_t number) {
  static constexpr std::array kWords = {"the",    "a",      "old",    "sea",    "ship",   "river",  "light",
                                        "stone",  "house",  "tree",   "bird",   "green",  "quiet",  "walks",
                                        "speaks", "dreams", "under",  "over",   "never",  "garden", "baker",
                                        "goat",   "gull",   "window", "market", "winter", "summer", "harbour",
                                        "letter", "storm",  "lamp",   "evening"};
  std::mt19937_64 shared(0), own(number + 1);
  std::string text;
  for (std::int64_t i = 0; i < config.prompt_words; ++i) {
    std::mt19937_64& random = i < config.shared_words ? shared : own;
    text += (text.empty() ? "" : " ") + std::string(kWords[random() % kWords.size()]);
  }
  return text;
}

/// What one event of a stream says.
void note_event(RequestTimes& times, std::string_view data, double now) {
  const Json event = Json::parse(data, nullptr, false);
  if (!event.is_object()) return;  // [DONE]
  if (event.contains("error")) times.error = event["error"].dump().substr(0, 300);
  if (const auto choices = event.find("choices"); choices != event.end() && !choices->empty())
    times.pieces.push_back(now);
  const auto usage = event.find("usage");
  if (usage == event.end() || !usage->is_object()) return;
  times.prompt_tokens = usage->value("prompt_tokens", std::int64_t{0});
  times.new_tokens = usage->value("completion_tokens", std::int64_t{0});
  if (const auto details = usage->find("prompt_tokens_details");
      details != usage->end() && details->is_object())
    times.cached_tokens = details->value("cached_tokens", std::int64_t{0});
}

/// One run: its requests, as they end.
class Run {
 public:
  Run(asio::io_context& io, std::string name, const LoadTestConfig& config, const std::string& key,
      const Json& more, const tcp::resolver::results_type& server, std::string model,
      std::uint64_t first_number)
      : io_(io),
        name_(std::move(name)),
        config_(config),
        key_(key),
        more_(more),
        server_(server),
        model_(std::move(model)),
        number_(first_number) {}

  std::vector<RequestTimes> with_streams(std::int64_t streams) {
    for (std::int64_t i = 0; i < streams; ++i) asio::co_spawn(io_, one_after_the_other(), asio::detached);
    return finish();
  }
  std::vector<RequestTimes> at_rate(double rate) {
    asio::co_spawn(io_, arrivals(rate), asio::detached);
    return finish();
  }
  std::uint64_t next_number() const noexcept { return number_; }

 private:
  std::vector<RequestTimes> finish() {
    asio::co_spawn(io_, show_progress(), asio::detached);
    io_.restart();
    io_.run();
    return std::move(ended_);
  }
  double now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  bool goes_on() const { return now() < static_cast<double>(config_.seconds); }

  asio::awaitable<void> one_after_the_other() {
    while (goes_on()) co_await request();
  }
  asio::awaitable<void> arrivals(double rate) {
    std::mt19937_64 random(0);
    std::exponential_distribution<double> gap(rate);
    asio::steady_timer timer(io_);
    for (double due = gap(random); due < static_cast<double>(config_.seconds); due += gap(random)) {
      timer.expires_at(began_ +
                       std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due)));
      co_await timer.async_wait(asio::use_awaitable);
      asio::co_spawn(io_, request(), asio::detached);
    }
  }
  asio::awaitable<void> show_progress() {
    asio::steady_timer timer(io_);
    for (int ticks = 1; goes_on() || open_ > 0; ++ticks) {
      timer.expires_after(200ms);
      co_await timer.async_wait(asio::use_awaitable);
      if (ticks % 25 == 0)
        log_info(name_ + ": " + std::to_string(static_cast<int>(now())) + " s of " +
                 std::to_string(config_.seconds) + ", " + std::to_string(ended_.size()) +
                 " requests are over, " + std::to_string(open_) + " run");
    }
  }

  /// Streams one completion. What goes wrong is part of the result.
  asio::awaitable<void> request() {
    const std::uint64_t number = number_++;
    RequestTimes times;
    times.sent = now();
    ++open_;
    try {
      co_await stream(number, times);
    } catch (const std::exception& error) {
      times.error = error.what();
    }
    --open_;
    times.ended = now();
    ended_.push_back(std::move(times));
  }

  asio::awaitable<void> stream(std::uint64_t number, RequestTimes& times) {
    beast::tcp_stream socket(io_);
    socket.expires_after(kPatience);
    const auto reached = co_await socket.async_connect(server_, asio::use_awaitable);
    http::request<http::string_body> request{http::verb::post, "/v1/completions", 11};
    request.set(http::field::host, reached.address().to_string());
    request.set(http::field::content_type, "application/json");
    if (!key_.empty()) request.set(http::field::authorization, "Bearer " + key_);
    request.keep_alive(false);
    Json asked{{"model", model_},
               {"prompt", prompt_of(config_, number)},
               {"max_tokens", config_.new_tokens},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
    asked.update(more_);
    request.body() = asked.dump();
    request.prepare_payload();
    co_await http::async_write(socket, request, asio::use_awaitable);

    beast::flat_buffer held;
    http::response_parser<http::buffer_body> reply;
    reply.body_limit(boost::none);
    co_await http::async_read_header(socket, held, reply, asio::use_awaitable);
    times.status = reply.get().result_int();
    EventReader events([&](std::string_view data) { note_event(times, data, now()); });
    std::string refusal;
    std::array<char, 16384> room{};
    while (!reply.is_done()) {
      auto& body = reply.get().body();
      body.data = room.data();
      body.size = room.size();
      socket.expires_after(kPatience);
      boost::system::error_code error;
      co_await http::async_read_some(socket, held, reply, asio::redirect_error(asio::use_awaitable, error));
      if (error && error != http::error::need_buffer) throw boost::system::system_error(error);
      const std::string_view bytes(room.data(), room.size() - body.size);
      if (times.status == 200)
        events.push(bytes);
      else
        refusal += bytes;
    }
    // A server that tells no usage sends a token with each event, or nearly so.
    if (times.new_tokens == 0) times.new_tokens = std::ssize(times.pieces);
    if (times.status != 200)
      times.error = "HTTP " + std::to_string(times.status) + ": " + refusal.substr(0, 300);
    else if (times.pieces.empty() && times.error.empty())
      times.error = "a stream without a token";
  }

  asio::io_context& io_;
  const std::string name_;
  const LoadTestConfig& config_;
  const std::string& key_;
  const Json& more_;  // fields of each request
  const tcp::resolver::results_type& server_;
  const std::string model_;
  std::uint64_t number_;
  const Clock::time_point began_ = Clock::now();
  std::int64_t open_ = 0;
  std::vector<RequestTimes> ended_;
};

/// The first model that the server names.
std::string served_model(asio::io_context& io, const tcp::resolver::results_type& server,
                         const std::string& host, const std::string& key) {
  beast::tcp_stream socket(io);
  socket.connect(server);
  http::request<http::empty_body> request{http::verb::get, "/v1/models", 11};
  request.set(http::field::host, host);
  if (!key.empty()) request.set(http::field::authorization, "Bearer " + key);
  http::write(socket, request);
  beast::flat_buffer held;
  http::response<http::string_body> reply;
  http::read(socket, held, reply);
  const Json listed = Json::parse(reply.body(), nullptr, false);
  if (reply.result() != http::status::ok || !listed.is_object() || !listed.contains("data") ||
      !listed["data"].is_array() || listed["data"].empty() || !listed["data"][0].contains("id"))
    throw Error(ExitCode::kUnavailable, "GET /v1/models: HTTP " + std::to_string(reply.result_int()) + " " +
                                            reply.body().substr(0, 200) + ": is that an OpenAI server?" +
                                            (key.empty() ? " Its key goes into LLM_TP_API_KEY" : ""));
  return listed["data"][0]["id"].get<std::string>();
}

std::string short_number(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

}  // namespace

void run_load_test(const LoadTestConfig& config, const std::string& key,
                   const std::function<void(const LoadReport&)>& on_report) {
  const ServerAddress address = parse_server_address(config.url);
  const Json more = config.request.empty() ? Json::object() : Json::parse(config.request, nullptr, false);
  if (!more.is_object())
    throw Error(ExitCode::kUsage, "--request " + config.request.substr(0, 200) +
                                      ": wanted a JSON object, as in {\"temperature\": 0.8}");
  asio::io_context io(1);
  tcp::resolver::results_type server;
  std::string model;
  try {
    server = tcp::resolver(io).resolve(address.host, std::to_string(address.port));
    model = served_model(io, server, address.host, key);
  } catch (const boost::system::system_error& error) {
    throw Error(ExitCode::kUnavailable, config.url + ": " + error.code().message() +
                                            ": start a server there (llm-tp serve), or name another --url");
  }
  std::uint64_t number = 0;  // of the next request: no prompt comes twice
  const auto run = [&](const std::string& name, const auto& requests) {
    Run one(io, name, config, key, more, server, model, number);
    on_report(report_of(name, requests(one)));
    number = one.next_number();
  };
  std::vector<std::int32_t> streams = config.streams;
  if (streams.empty() && config.rates.empty()) streams = {1, 8, 32};
  for (const std::int32_t n : streams)
    run(std::to_string(n) + (n == 1 ? " stream" : " streams"), [&](Run& r) { return r.with_streams(n); });
  for (const double rate : config.rates)
    run(short_number(rate) + " requests/s", [&](Run& r) { return r.at_rate(rate); });
}

}  // namespace llm_tp

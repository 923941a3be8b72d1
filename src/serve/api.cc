#include "serve/api.h"

#include <algorithm>
#include <ctime>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "serve/api_error.h"
#include "serve/json_text.h"
#include "serve/web_page.h"

namespace llm_tp {
namespace {

std::vector<std::string> read_keys(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ExitCode::kMissingFile, path + ": the file of API keys cannot be read");
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) keys.push_back(line);
  }
  if (keys.empty()) throw Error(ExitCode::kConfig, path + ": holds no API key; write one a line");
  return keys;
}

/// In time that does not tell how much of the key was right.
bool same_secret(const std::string& given, const std::string& key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  return difference == 0;
}

/// Nothing but what the page holds itself runs, and it talks to nobody but this server. Its own scripts and
/// styles carry a number that is new in each reply: text that got into the page some other way has none.
HttpReply web_page_reply() {
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 4; ++i) nonce += std::to_string(random()) + "-";
  constexpr std::string_view kPlace = "{{nonce}}";
  std::string page = kWebPage;
  for (std::size_t at = 0; (at = page.find(kPlace, at)) != std::string::npos;)
    page.replace(at, kPlace.size(), nonce);
  return {200,
          std::move(page),
          "text/html; charset=utf-8",
          {{"Content-Security-Policy", "default-src 'none'; script-src 'nonce-" + nonce +
                                           "'; style-src 'nonce-" + nonce +
                                           "'; connect-src 'self'; img-src data:; base-uri 'none'; "
                                           "form-action 'none'; frame-ancestors 'none'"},
           {"Cache-Control", "no-store"},
           {"Referrer-Policy", "no-referrer"},
           {"X-Content-Type-Options", "nosniff"}}};
}

HttpReply json_reply(const Json& body) { return {200, to_text(body), "application/json", {}}; }

/// A path that is served, asked by a method that it does not have.
struct WrongMethod : ApiError {
  WrongMethod(const std::string& path, const char* method, const std::string& found)
      : ApiError(405, path + ": wanted " + method + ", found " + found.substr(0, 20)), wanted(method) {}
  std::string wanted;
};

HttpReply reply_of_error(const ApiError& error) {
  HttpReply reply{error.status(), error.body(), "application/json", {}};
  if (error.status() == 429 || error.status() == 503) reply.headers.emplace_back("Retry-After", "1");
  if (error.status() == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

/// Paths that nobody serves are no labels: there would be as many as clients can think of.
std::string label_of(const std::string& path) {
  for (const char* known : {"/", "/health", "/ready", "/group", "/tokenize", "/detokenize", "/tokenizer_info",
                            "/version", "/openapi.json", "/metrics", "/v1/models", "/v1/completions",
                            "/v1/chat/completions", "/v1/embeddings"})
    if (path == known) return path;
  return path.starts_with("/v1/models/") ? "/v1/models" : "other";
}

}  // namespace

Api::Api(const ServeConfig& config, std::string environment_key)
    : config_(config), began_(std::time(nullptr)) {
  if (!config.api_key_file.empty())
    keys_ = read_keys(config.api_key_file);
  else if (!environment_key.empty())
    keys_.push_back(std::move(environment_key));
  if (config.request_log.empty()) return;
  log_.open(config.request_log, std::ios::app);
  if (!log_) throw Error(ExitCode::kIoError, config.request_log + ": the request log cannot be written");
}

void Api::open(const ServedModel& model, EngineService& service, RunReport* report) {
  if (report != nullptr) metrics_.also_tell(*report);
  service.watch([this, &service, report](const ServiceState& state) {
    metrics_.step(state.last_step_seconds);
    group_.observe(state);
    if (report != nullptr) report->observe(state, service.places());
  });
  model_ = &model;
  service_ = &service;
  if (draining_) service.drain();
}

void Api::drain() {
  draining_ = true;
  if (EngineService* service = service_.load()) service->drain();
}

void Api::stop() {
  if (EngineService* service = service_.load()) service->stop();
}

void Api::check_key(const std::string& authorization) const {
  if (keys_.empty()) return;
  constexpr std::string_view kScheme = "Bearer ";
  const bool has_scheme = authorization.starts_with(kScheme);
  const std::string given = has_scheme ? authorization.substr(kScheme.size()) : std::string();
  bool known = false;
  for (const std::string& key : keys_) known = same_secret(given, key) || known;
  if (!known)
    throw ApiError(401, "wrong or no API key; send it as Authorization: Bearer KEY", {}, "invalid_api_key");
}

void Api::require_ready() const {
  if (draining_) throw ApiError(503, "the server is shutting down");
  if (service_.load() == nullptr) throw ApiError(503, "the model is being loaded");
}

HttpReply Api::health() const {
  if (ready()) return json_reply({{"status", "ok"}});
  return {503,
          to_text({{"status", draining_ ? "draining" : "loading"}}),
          "application/json",
          {{"Retry-After", "1"}}};
}

HttpReply Api::group() const {
  if (service_.load() == nullptr) require_ready();  // its error says why
  return {200, group_.text(*model_, *service_), "application/json", {{"Cache-Control", "no-store"}}};
}

HttpReply Api::models(const std::string& path) const {
  require_ready();
  const ServedModel& model = *model_;
  Json entries = Json::array();
  for (const std::string& name : model.names()) {
    Json entry{{"id", name},
               {"object", "model"},
               {"created", began_},
               {"owned_by", "llm-tp"},
               {"max_model_len", model.most_positions()}};
    if (name != model.name()) entry["parent"] = model.name();  // an adapter
    entries.push_back(std::move(entry));
  }
  const std::string prefix = "/v1/models/";
  if (!path.starts_with(prefix)) return json_reply({{"object", "list"}, {"data", std::move(entries)}});
  for (const Json& entry : entries)
    if (entry["id"] == path.substr(prefix.size())) return json_reply(entry);
  throw ApiError(404, "no such model; \"" + model.name() + "\" is served here", "model", "model_not_found");
}

HttpReply Api::tokenize(const std::string& body) const {
  require_ready();
  const TokenizeBody wanted = parse_tokenize_body(body);
  const std::vector<TokenId> ids =
      wanted.text ? model_.load()->encode(*wanted.text, wanted.add_special)
                  : model_.load()->encode_chat(wanted.messages, wanted.template_variables,
                                               wanted.add_generation_prompt);
  return json_reply(
      {{"tokens", ids}, {"count", ids.size()}, {"max_model_len", model_.load()->most_positions()}});
}

HttpReply Api::detokenize(const std::string& body) const {
  require_ready();
  return json_reply({{"prompt", model_.load()->decode(parse_detokenize_body(body))}});
}

/// By the names of tokenizer_config.json: what a client needs that writes prompts of its own.
HttpReply Api::tokenizer_info() const {
  require_ready();
  const Tokenizer* const tokenizer = model_.load()->tokenizer();
  if (tokenizer == nullptr) throw ApiError(404, "this model has no tokenizer; send token ids");
  const auto text_of = [&](std::optional<TokenId> id) {
    return id ? Json(tokenizer->piece(*id, true)) : Json();
  };
  const std::vector<TokenId> ends = tokenizer->end_ids();
  const auto chat_template = tokenizer->chat_template();
  return json_reply({{"bos_token", text_of(tokenizer->begin_id())},
                     {"eos_token", text_of(ends.empty() ? std::nullopt : std::optional(ends.front()))},
                     {"chat_template", chat_template ? Json(*chat_template) : Json()},
                     {"vocab_size", model_.load()->vocabulary()},
                     {"model_max_length", model_.load()->most_positions()}});
}

Api::Outcome Api::run(Endpoint endpoint, const std::string& body) {
  require_ready();
  EngineService& service = *service_;
  if (service.waiting() >= config_.max_queue)
    throw ApiError(429, std::to_string(service.waiting()) + " requests wait already; try again later", {},
                   "queue_full");
  ApiRequest request = parse_api_request(endpoint, body);
  const auto timeout = request.timeout;
  Call call = model_.load()->prepare(std::move(request), std::random_device{}());
  Job job;
  job.requests = call.requests;
  if (timeout)
    job.deadline =
        std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                               std::chrono::duration<double>(*timeout));
  auto live = std::make_shared<LiveCall>(std::move(call), *model_, metrics_);
  job.listener = live;
  live->job = service.submit(std::move(job));
  return live;
}

Api::Outcome Api::route(const HttpRequest& request) {
  const std::string& path = request.path;
  const auto needs = [&](const char* method) {
    if (request.method == method || (request.method == "HEAD" && std::string(method) == "GET")) return;
    throw WrongMethod(path, method, request.method);
  };
  if (path == "/health" || path == "/ready") return needs("GET"), health();
  // The page holds no secret and has to ask for the key itself.
  if (path == "/") return needs("GET"), web_page_reply();
  check_key(request.authorization);
  for (const Endpoint endpoint : {Endpoint::kCompletions, Endpoint::kChatCompletions, Endpoint::kEmbeddings})
    if (path == path_of(endpoint)) return needs("POST"), run(endpoint, request.body);
  if (path == "/v1/models" || path.starts_with("/v1/models/")) return needs("GET"), models(path);
  if (path == "/group") return needs("GET"), group();
  if (path == "/tokenize") return needs("POST"), tokenize(request.body);
  if (path == "/detokenize") return needs("POST"), detokenize(request.body);
  if (path == "/tokenizer_info") return needs("GET"), tokenizer_info();
  if (path == "/version") return needs("GET"), json_reply({{"version", LLM_TP_VERSION}});
  if (path == "/openapi.json")
    return needs("GET"), HttpReply{200, openapi_document(), "application/json", {}};
  if (path == "/metrics") {
    needs("GET");
    const EngineService* service = service_;
    const ServiceState state = service != nullptr ? service->state() : ServiceState();
    return HttpReply{
        200, metrics_.text(service != nullptr ? &state : nullptr), "text/plain; version=0.0.4", {}};
  }
  throw ApiError(404, path.substr(0, 100) + ": no such path; /openapi.json lists them");
}

Api::Outcome Api::handle(const HttpRequest& request) {
  try {
    Outcome outcome = route(request);
    if (const auto* reply = std::get_if<HttpReply>(&outcome))
      metrics_.answered(label_of(request.path), reply->status);
    return outcome;
  } catch (const WrongMethod& error) {
    metrics_.answered(label_of(request.path), error.status());
    HttpReply reply = reply_of_error(error);
    reply.headers.emplace_back("Allow", error.wanted);
    return reply;
  } catch (const ApiError& error) {
    metrics_.answered(label_of(request.path), error.status());
    return reply_of_error(error);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kUsage) return refusal(400, error.what());
    log_error(std::string("a request failed: ") + error.what());
    return refusal(500, error.what());
  } catch (const std::exception& error) {
    log_error(std::string("a request failed: ") + error.what());
    return refusal(500, "unexpected; the server's log says more");
  }
}

HttpReply Api::refusal(int status, const std::string& message) {
  return reply_of_error(ApiError(status, message));
}

HttpReply Api::reply_of(const LiveCall& call) {
  switch (*call.end()) {
    case JobEnd::kDone:
      return {200, call.answer().body(), "application/json", {{"X-Request-Id", call.call().id}}};
    case JobEnd::kTimedOut:
      return refusal(408, "timeout: the time that the request gave is over");
    case JobEnd::kCancelled:
      return refusal(503, "the server is shutting down");
    case JobEnd::kRefused:
      break;
  }
  return refusal(draining_ ? 503 : 400, call.reason());
}

void Api::cancel(const LiveCall& call) {
  if (EngineService* service = service_.load()) service->cancel(call.job);
}

void Api::note(const LiveCall& call, int status) {
  const char* const endpoint = path_of(call.call().request.endpoint);
  metrics_.answered(endpoint, status);
  if (!log_.is_open()) return;
  const Usage usage = call.answer().usage();
  const auto first = call.seconds_to_first_token();
  log_ << to_text({{"time", std::time(nullptr)},
                   {"id", call.call().id},
                   {"endpoint", endpoint},
                   {"status", status},
                   {"stream", call.call().request.stream},
                   {"prompt_tokens", usage.prompt_tokens},
                   {"completion_tokens", usage.completion_tokens},
                   {"seconds_to_first_token", first ? Json(*first) : Json()},
                   {"seconds", call.seconds()}})
       << '\n'
       << std::flush;
}

}  // namespace llm_tp

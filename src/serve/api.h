#pragma once
#include <atomic>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/engine_config.h"
#include "engine/service.h"
#include "serve/group_view.h"
#include "serve/live_call.h"
#include "serve/metrics.h"
#include "serve/run_report.h"
#include "serve/served_model.h"

namespace llm_tp {

struct HttpRequest {
  std::string method, path;   // without the query
  std::string authorization;  // the header's value
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

/// What the server answers, without sockets: routes, keys, limits. The server's thread calls it, but for
/// open(), and for handle(), which any number of threads call at once.
class Api {
 public:
  /// Errors: kMissingFile for the key file; kConfig where it holds no key; kIoError for the request log.
  Api(const ServeConfig& config, std::string environment_key);
  /// From now on requests are taken. The engine's thread, once, before its first step. All must outlive the
  /// last handle(). report hears of every request and step; it may be null.
  void open(const ServedModel& model, EngineService& service, RunReport* report = nullptr);
  /// From now on none is taken: 503.
  void drain();
  /// What runs is cancelled.
  void stop();
  bool is_draining() const noexcept { return draining_; }

  /// The reply, or a call that was handed to the engine. Never throws.
  using Outcome = std::variant<HttpReply, std::shared_ptr<LiveCall>>;
  Outcome handle(const HttpRequest& request);
  /// How a call that is over is answered, where nothing was sent yet.
  HttpReply reply_of(const LiveCall& call);
  /// Frames of server-sent events, where it is streamed.
  StreamRenderer renderer(const LiveCall& call) const { return StreamRenderer(call.call(), *model_); }
  static HttpReply refusal(int status, const std::string& message);
  void cancel(const LiveCall& call);
  /// The end of a call, for the log and the metrics. status 499: the client left.
  void note(const LiveCall& call, int status);
  Metrics& metrics() noexcept { return metrics_; }

 private:
  Outcome route(const HttpRequest& request);
  Outcome run(Endpoint endpoint, const std::string& body);
  HttpReply tokenize(const std::string& body) const;
  HttpReply detokenize(const std::string& body) const;
  HttpReply tokenizer_info() const;
  HttpReply models(const std::string& path) const;
  HttpReply group() const;
  HttpReply health() const;
  void check_key(const std::string& authorization) const;
  void require_ready() const;
  bool ready() const noexcept { return service_.load() != nullptr && !draining_; }

  const ServeConfig config_;
  std::vector<std::string> keys_;
  Metrics metrics_;
  GroupView group_;
  std::ofstream log_;
  const std::int64_t began_;
  std::atomic<const ServedModel*> model_{nullptr};
  std::atomic<EngineService*> service_{nullptr};
  std::atomic<bool> draining_{false};
};

/// GET /openapi.json.
std::string openapi_document();

}  // namespace llm_tp

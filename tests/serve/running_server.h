#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "harbour.h"
#include "http_client.h"
#include "serve/http_server.h"
#include "serve/json_text.h"
#include "temporary_folder.h"

namespace llm_tp {

inline ServeConfig config_of_test() {
  ServeConfig config;
  config.port = 0;
  config.max_body = 4096;
  config.max_queue = 3;
  return config;
}

/// Serves the harbour model while `client` runs on a thread of its own; then drains. Texts become tokens by
/// `text_files`, where they are given.
inline void with_server(const ServeConfig& config, std::int64_t max_batch,
                        const std::function<void(std::uint16_t port, EngineService&)>& client,
                        const std::string& folder = harbour(), const ModelFiles* text_files = nullptr) {
  Api api(config, {});
  HttpServer server(config, api);
  if (config.tls_cert.empty()) {
    HttpClient early(server.port());
    early.send(get("/health"));
    EXPECT_TRUE(early.read_to_end().starts_with("HTTP/1.1 503")) << "it loads still";
  }
  with_harbour(
      1, max_batch,
      [&](Leader& leader, const ModelFiles& files) {
        const ServedModel model(text_files == nullptr ? files : *text_files, 128);
        EngineService service(leader);
        api.open(model, service);
        std::thread thread([&] {
          client(server.port(), service);
          api.drain();
        });
        service.run();
        thread.join();
        server.finish();
        EXPECT_EQ(service.state().pages_in_use, 0);
      },
      folder);
}

inline std::string ask(std::uint16_t port, const std::string& request) {
  HttpClient client(port);
  client.send(request);
  return client.read_to_end();
}
inline std::string status_of(const std::string& reply) { return reply.substr(9, 3); }
inline Json body_of(const std::string& reply) {
  return Json::parse(reply.substr(reply.find("\r\n\r\n") + 4));
}

}  // namespace llm_tp

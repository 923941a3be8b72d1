#include <openssl/ssl.h>

#include <csignal>

#include "base/error.h"
#include "running_server.h"
#include "serve/tls_files.h"
#include "tls_support.h"

namespace llm_tp {
namespace {

/// What the files are refused with, or nothing.
std::string refusal(const std::string& certificate, const std::string& key, ExitCode code) {
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  try {
    use_tls_files(context.get(), certificate, key);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return {};
}

TEST(TlsFiles, WhatIsWrongIsSaidAndNamesTheFile) {
  const TemporaryFolder folder;
  const std::string certificate = folder / "a.pem", key = folder / "a.key", other = folder / "b.key",
                    locked = folder / "c.key", text = folder / "text";
  make_certificate(folder / "b.pem", other);
  make_certificate(folder / "c.pem", locked, "a phrase");
  make_certificate(certificate, key);
  write_file(text, "no PEM\n");
  write_file(folder / "empty", "");
  EXPECT_EQ(refusal(certificate, key, ExitCode::kOk), "");
  const auto expect = [&](const std::string& c, const std::string& k, ExitCode code, const std::string& file,
                          const std::string& reason) {
    const std::string found = refusal(c, k, code);
    EXPECT_TRUE(found.starts_with(file + ": ")) << found;
    EXPECT_NE(found.find(reason), std::string::npos) << found;
    EXPECT_EQ(found.find("PRIVATE"), std::string::npos) << found;
  };
  expect(folder / "none", key, ExitCode::kMissingFile, folder / "none", "No such file");
  expect(certificate, folder / "none", ExitCode::kMissingFile, folder / "none", "key cannot be read");
  expect(certificate, folder / "empty", ExitCode::kMissingFile, folder / "empty", "it is empty");
  expect(certificate, folder / "", ExitCode::kMissingFile, folder / "", "cannot be read");
  expect(text, key, ExitCode::kConfig, text, "holds no certificate");
  expect(certificate, text, ExitCode::kConfig, text, "holds no key");
  expect(certificate, other, ExitCode::kConfig, other, "does not belong to the certificate");
  expect(folder / "c.pem", locked, ExitCode::kConfig, locked, "is encrypted");
}

class TlsServer : public ::testing::Test {
 protected:
  TlsServer() { make_certificate(config_.tls_cert, config_.tls_key); }
  static ServeConfig config_in(const TemporaryFolder& folder) {
    ServeConfig config = config_of_test();
    config.tls_cert = folder / "server.pem";
    config.tls_key = folder / "server.key";
    return config;
  }
  TemporaryFolder folder_;
  ServeConfig config_ = config_in(folder_);
};

TEST_F(TlsServer, AnswersAndStreamsAsThePlainOneDoes) {
  with_server(config_, 4, [&](std::uint16_t port, EngineService&) {
    TlsClient client(port, config_.tls_cert, "\x02h2\x08http/1.1");
    ASSERT_TRUE(client.connected());
    EXPECT_EQ(client.protocol(), "http/1.1");
    for (int i = 0; i < 2; ++i) {
      client.send(post("/v1/completions",
                       R"({"prompt":"The gull","max_tokens":4,"stream":true,"ignore_eos":true})", ""));
      EXPECT_NE(client.read_until("[DONE]\n\n\r\n0\r\n\r\n").find("\"finish_reason\":\"length\""),
                std::string::npos);
    }
    client.send(post("/v1/completions", R"({"prompt":"The gull","max_tokens":3})", "Connection: close\r\n"));
    const std::string reply = client.read_until("never");
    EXPECT_EQ(body_of(reply)["usage"]["completion_tokens"], 3);
    EXPECT_TRUE(client.ended_well()) << "an end that is cut off could be an attack";
  });
}

TEST_F(TlsServer, OthersAreTurnedAwayWithoutHarm) {
  with_server(config_, 4, [&](std::uint16_t port, EngineService&) {
    HttpClient plain(port);
    plain.send(get("/health"));
    EXPECT_EQ(plain.read_to_end().find("200"), std::string::npos);
    EXPECT_FALSE(TlsClient(port, config_.tls_cert, "\x02h2").connected()) << "it speaks HTTP/1.1 alone";
    EXPECT_FALSE(TlsClient(port, config_.tls_cert, {}, TLS1_1_VERSION).connected());
    TlsClient good(port, config_.tls_cert);
    good.send(get("/health"));
    EXPECT_EQ(status_of(good.read_until("never")), "200");
  });
}

TEST_F(TlsServer, AClientThatLeavesIsCancelled) {
  with_server(config_, 1, [&](std::uint16_t port, EngineService& service) {
    TlsClient running(port, config_.tls_cert), waiting(port, config_.tls_cert);
    running.send(
        post("/v1/completions", R"({"prompt":"The gull","max_tokens":120,"ignore_eos":true,"stream":true})"));
    running.read_until("data:");
    waiting.send(post("/v1/completions", R"({"prompt":"A boat","max_tokens":120,"ignore_eos":true})"));
    waiting.close();
    running.close();
    while (service.state().jobs_running + service.state().jobs_waiting + service.waiting() > 0)
      std::this_thread::yield();
  });
}

TEST_F(TlsServer, ASlowHandshakeAndASlowRequestAreCutOff) {
  config_.request_timeout = 1;
  with_server(config_, 1, [&](std::uint16_t port, EngineService&) {
    HttpClient silent(port);
    TlsClient slow(port, config_.tls_cert);
    slow.send("GET /health HTTP/1.1\r\nHost: ");
    EXPECT_EQ(silent.read_to_end(), "") << "returns once the server has closed it";
    EXPECT_EQ(slow.read_until("never"), "");
  });
}

TEST_F(TlsServer, ARenewedCertificateIsTakenOnSighup) {
  with_server(config_, 1, [&](std::uint16_t port, EngineService&) {
    const std::string before = folder_ / "before.pem";
    std::filesystem::copy_file(config_.tls_cert, before);
    make_certificate(config_.tls_cert, config_.tls_key);
    TlsClient old(port, before);
    ASSERT_TRUE(old.connected()) << "it was not told yet";
    std::raise(SIGHUP);
    while (!TlsClient(port, config_.tls_cert).connected()) std::this_thread::yield();
    EXPECT_FALSE(TlsClient(port, before).connected());
    old.send(get("/health"));
    EXPECT_EQ(status_of(old.read_until("never")), "200") << "connections from before go on";
    // A pair that does not fit leaves the good one in use.
    write_file(config_.tls_key, "no key");
    std::raise(SIGHUP);
    TlsClient after(port, config_.tls_cert);
    EXPECT_TRUE(after.connected());
  });
}

TEST_F(TlsServer, ACertificateAndItsKeyGoTogether) {
  Api api(config_, {});
  for (std::string ServeConfig::*missing : {&ServeConfig::tls_cert, &ServeConfig::tls_key}) {
    ServeConfig config = config_;
    (config.*missing).clear();
    EXPECT_THROW(HttpServer(config, api), Error);
  }
}

}  // namespace
}  // namespace llm_tp

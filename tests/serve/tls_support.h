#pragma once
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>

#include "http_client.h"

namespace llm_tp {

/// A certificate for 127.0.0.1 that signs itself, good for an hour, and its key: PEM files.
inline void make_certificate(const std::string& certificate_path, const std::string& key_path,
                             const char* pass_phrase = nullptr) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("127.0.0.1"),
                             -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  ASSERT_GT(X509_sign(certificate.get(), key.get(), EVP_sha256()), 0);
  const std::unique_ptr<BIO, int (*)(BIO*)> out(BIO_new_file(certificate_path.c_str(), "w"), BIO_free);
  ASSERT_EQ(PEM_write_bio_X509(out.get(), certificate.get()), 1);
  const std::unique_ptr<BIO, int (*)(BIO*)> key_out(BIO_new_file(key_path.c_str(), "w"), BIO_free);
  ASSERT_EQ(PEM_write_bio_PrivateKey(key_out.get(), key.get(), pass_phrase ? EVP_aes_128_cbc() : nullptr,
                                     nullptr, 0, nullptr, const_cast<char*>(pass_phrase)),
            1);
}

/// One TLS connection to a server of this host, which must have a certificate of `trusted`; plain blocking
/// calls.
class TlsClient {
 public:
  /// protocols: for ALPN, each after its length; empty: none are offered.
  TlsClient(std::uint16_t port, const std::string& trusted, const std::string& protocols = {},
            int newest = TLS1_3_VERSION)
      : tcp_(port), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    SSL_CTX_load_verify_file(context_.get(), trusted.c_str());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_max_proto_version(context_.get(), newest);
    tls_.reset(SSL_new(context_.get()));
    SSL_set_fd(tls_.get(), tcp_.descriptor());
    if (!protocols.empty())
      SSL_set_alpn_protos(tls_.get(), reinterpret_cast<const unsigned char*>(protocols.data()),
                          static_cast<unsigned>(protocols.size()));
    connected_ = SSL_connect(tls_.get()) == 1;
  }
  bool connected() const noexcept { return connected_; }
  std::string protocol() const {
    const unsigned char* chosen = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(tls_.get(), &chosen, &length);
    return {reinterpret_cast<const char*>(chosen), length};
  }
  void send(const std::string& bytes) {
    EXPECT_EQ(SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())),
              static_cast<int>(bytes.size()));
  }
  /// Everything up to and with `text`, or up to the end.
  std::string read_until(const std::string& text) {
    std::string seen;
    char byte = 0;
    while (seen.find(text) == std::string::npos && SSL_read(tls_.get(), &byte, 1) == 1) seen += byte;
    return seen;
  }
  /// The server said that nothing more comes.
  bool ended_well() const { return (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  /// Says goodbye, and goes.
  void close() {
    SSL_shutdown(tls_.get());
    tcp_.close();
  }

 private:
  HttpClient tcp_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> tls_{nullptr, SSL_free};
  bool connected_ = false;
};

}  // namespace llm_tp

#include "serve/tls_files.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/error.h"

namespace llm_tp {
namespace {

void require_readable(const std::string& path, const char* what) {
  errno = 0;
  std::ifstream file(path);
  // A folder opens, but gives nothing.
  if (!file || file.peek() == std::ifstream::traits_type::eof())
    throw Error(ExitCode::kMissingFile,
                path + ": the TLS " + what + " cannot be read" +
                    (errno != 0 ? std::string(": ") + std::strerror(errno) : std::string(": it is empty")));
}

/// OpenSSL's words for the last error, which name no content of a file.
std::string last_reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? reason : "unknown";
}

bool key_belongs_elsewhere() {
  const unsigned long error = ERR_peek_last_error();
  return ERR_GET_LIB(error) == ERR_LIB_X509 && (ERR_GET_REASON(error) == X509_R_KEY_VALUES_MISMATCH ||
                                                ERR_GET_REASON(error) == X509_R_KEY_TYPE_MISMATCH);
}

/// Nobody can be asked for a pass phrase.
int no_phrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return 0;
}

/// Of the protocols that a client offers, http/1.1; a client that offers others alone is refused.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                    unsigned int offered_length, void*) {
  static constexpr unsigned char kHttp[] = "\x08http/1.1";
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, kHttp, sizeof kHttp - 1, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

void use_tls_files(ssl_ctx_st* context, const std::string& certificate, const std::string& key) {
  require_readable(certificate, "certificate");
  require_readable(key, "key");
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    throw Error(ExitCode::kConfig,
                certificate + ": holds no certificate in PEM form (" + last_reason() + ")");
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(context, no_phrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
  const bool good = SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  if (asked)
    throw Error(
        ExitCode::kConfig,
        key + ": the TLS key is encrypted; give one without a pass phrase (openssl pkey -in … -out …)");
  if (!good && key_belongs_elsewhere())
    throw Error(ExitCode::kConfig,
                key + ": the TLS key does not belong to the certificate of " + certificate);
  if (!good) throw Error(ExitCode::kConfig, key + ": holds no key in PEM form (" + last_reason() + ")");
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);  // thousands of connections wait at times
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
}

}  // namespace llm_tp

#pragma once
#include <string>

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace llm_tp {

/// Makes a server's context use a certificate, with the chain behind it, and its key: paths of PEM files. TLS
/// 1.2 at least; of protocols above (ALPN) http/1.1 alone. Errors: kMissingFile for a file that cannot be
/// read; kConfig for one that holds no certificate or no key, a key that is encrypted, and one that belongs
/// to another certificate. Messages name files, never what they hold.
void use_tls_files(ssl_ctx_st* context, const std::string& certificate, const std::string& key);

}  // namespace llm_tp

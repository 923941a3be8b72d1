#pragma once

namespace llm_tp {

/// The page at /, made of src/serve/page while building: one HTML text without outside resources. {{nonce}}
/// stands where the reply's own random number goes, which its Content-Security-Policy names.
extern const char* const kWebPage;

}  // namespace llm_tp

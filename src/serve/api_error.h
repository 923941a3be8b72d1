#pragma once
#include <optional>
#include <stdexcept>
#include <string>

namespace llm_tp {

/// A request that is refused, as HTTP and OpenAI's clients know it. `param` names the field of the body.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = {}, std::string code = {})
      : std::runtime_error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}
  int status() const noexcept { return status_; }
  /// {"error": {"message", "type", "param", "code"}}
  std::string body() const;

 private:
  int status_;
  std::string param_, code_;
};

}  // namespace llm_tp

#include "serve/random_id.h"

#include <random>

namespace llm_tp {

std::string random_id(const std::string& prefix) {
  thread_local std::mt19937_64 source{std::random_device{}()};
  constexpr char kHex[] = "0123456789abcdef";
  std::string id = prefix;
  for (int i = 0; i < 24; ++i) id += kHex[source() & 15];
  return id;
}

}  // namespace llm_tp

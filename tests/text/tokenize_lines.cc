// Encodes and decodes texts, for comparisons with other tokenizers (make/compare.py). The model folder, or
// GGUF file's folder, is the argument; standard input has a JSON list a line: [text, add_special,
// parse_special]. For each, a line
// {"ids": […], "text": decoded without special tokens, "all": decoded with them} comes out, or {"error":
// "…"}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  const auto tokenizer = llm_tp::load_tokenizer(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    const auto in = nlohmann::json::parse(line);
    nlohmann::json out;
    try {
      const auto ids = tokenizer->encode(in[0].get<std::string>(), in[1].get<bool>(), in[2].get<bool>());
      out = {{"ids", ids}, {"text", tokenizer->decode(ids)}, {"all", tokenizer->decode(ids, true)}};
    } catch (const std::exception& error) {
      out = {{"error", error.what()}};
    }
    std::cout << out.dump() << std::endl;
  }
}

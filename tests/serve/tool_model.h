#pragma once
#include <algorithm>
#include <filesystem>
#include <string>

#include "harbour.h"
#include "serve/json_text.h"
#include "temporary_folder.h"

namespace llm_tp {

/// The harbour model with another chat template, and with another text of the control token <|im_start|>, of
/// the same length. Its folder lies in `folder`.
inline std::string harbour_with(const TemporaryFolder& folder, const std::string& chat_template,
                                const std::string& control = "<|im_start|>") {
  namespace fs = std::filesystem;
  const std::string path = folder / "harbour", before = "<|im_start|>";
  fs::create_directory(path);
  for (const auto& entry : fs::directory_iterator(harbour())) {
    const std::string to = path + "/" + entry.path().filename().string();
    if (entry.path().extension() == ".safetensors") {
      fs::create_symlink(entry.path(), to);
      continue;
    }
    std::string text = read_file(entry.path().string());
    if (entry.path().filename() == "tokenizer_config.json") {
      Json config = Json::parse(text);
      config["chat_template"] = chat_template;
      text = to_text(config);
    }
    for (std::size_t at = 0; (at = text.find(before, at)) != std::string::npos; at += control.size())
      text.replace(at, before.size(), control);
    write_file(to, text);
  }
  return path;
}

}  // namespace llm_tp

#include "comm/try_together.h"

#include <string>

#include "base/byte_stream.h"

namespace llm_tp {

std::optional<AgreedError> try_together(Communicator& host, ControlChannel& control,
                                        const std::function<std::vector<std::byte>()>& part,
                                        std::vector<std::vector<std::byte>>* all) {
  const auto message_of = [](ExitCode code, const std::string& text, const std::vector<std::byte>& bytes) {
    ByteWriter out;
    out.value(code);
    out.text(text);
    out.list(bytes);
    return out.take();
  };
  std::vector<std::byte> mine;
  try {
    mine = message_of(ExitCode::kOk, "", part());
  } catch (const Error& error) {
    mine = message_of(error.code(), error.what(), {});
  }
  const auto said = host.gather(mine);
  ExitCode code = ExitCode::kOk;
  std::string text;
  ByteWriter lists;
  for (std::size_t r = 0; r < said.size(); ++r) {
    ByteReader in(said[r]);
    const auto of_rank = in.value<ExitCode>();
    const std::string why = in.text();
    if (code == ExitCode::kOk && of_rank != ExitCode::kOk) {
      code = of_rank;
      text = "rank " + std::to_string(r) + ": " + why;
    }
    lists.list(in.list<std::byte>());
  }
  std::vector<std::byte> verdict = message_of(code, text, lists.take());
  control.broadcast(verdict);
  ByteReader in(verdict);
  code = in.value<ExitCode>();
  text = in.text();
  const std::vector<std::byte> of_ranks = in.list<std::byte>();
  ByteReader parts(of_ranks);
  for (int r = 0; all != nullptr && r < host.world(); ++r) all->push_back(parts.list<std::byte>());
  if (code == ExitCode::kOk) return std::nullopt;
  return AgreedError(code, text);
}

void do_together(Communicator& host, ControlChannel& control, const std::function<void()>& part) {
  const auto failure = try_together(host, control, [&] {
    part();
    return std::vector<std::byte>{};
  });
  if (failure) throw AgreedError(*failure);
}

}  // namespace llm_tp

#include "comm/try_together.h"

#include "base/byte_stream.h"
#include "base/error.h"

namespace llm_tp {

std::string try_together(Communicator& host, ControlChannel& control,
                         const std::function<std::vector<std::byte>()>& part,
                         std::vector<std::vector<std::byte>>* all) {
  ByteWriter said;
  try {
    const std::vector<std::byte> made = part();
    said.text("");
    said.list(made);
  } catch (const Error& error) {
    said.text(error.what());
    said.list(std::vector<std::byte>{});
  }
  std::string failure;
  ByteWriter all_said;
  const auto gathered = host.gather(said.take());
  for (std::size_t r = 0; r < gathered.size(); ++r) {
    ByteReader in(gathered[r]);
    const std::string of_rank = in.text();
    if (failure.empty() && !of_rank.empty()) failure = "rank " + std::to_string(r) + ": " + of_rank;
    all_said.list(in.list<std::byte>());
  }
  ByteWriter out;
  out.text(failure);
  out.list(all_said.take());
  std::vector<std::byte> message = out.take();
  control.broadcast(message);
  ByteReader in(message);
  failure = in.text();
  const std::vector<std::byte> lists = in.list<std::byte>();
  ByteReader of_ranks(lists);
  for (int r = 0; all != nullptr && r < host.world(); ++r) all->push_back(of_ranks.list<std::byte>());
  return failure;
}

}  // namespace llm_tp

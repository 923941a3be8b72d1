#include "engine/rank_place.h"

#include <unistd.h>

#include "base/byte_stream.h"

namespace llm_tp {
namespace {

std::vector<char> chars(const std::string& text) { return {text.begin(), text.end()}; }
std::string text(const std::vector<char>& chars) { return {chars.begin(), chars.end()}; }

}  // namespace

std::vector<RankPlace> gather_places(const Group& group, const std::string& device, int threads) {
  ByteWriter mine;
  mine.list(chars(group.host));
  mine.value(static_cast<int>(::getpid()));
  mine.list(chars(device));
  mine.value(threads);
  std::vector<RankPlace> places;
  for (const auto& bytes : group.ranks.gather(mine.take())) {
    ByteReader in(bytes);
    RankPlace place;
    place.host = text(in.list<char>());
    place.pid = in.value<int>();
    place.device = text(in.list<char>());
    place.threads = in.value<int>();
    places.push_back(std::move(place));
  }
  return places;
}

}  // namespace llm_tp

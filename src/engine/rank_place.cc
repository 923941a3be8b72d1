#include "engine/rank_place.h"

#include <unistd.h>

#include "base/byte_stream.h"

namespace llm_tp {
std::vector<RankPlace> gather_places(const Group& group, const std::string& device, int threads) {
  ByteWriter mine;
  mine.text(group.host);
  mine.value(static_cast<int>(::getpid()));
  mine.text(device);
  mine.value(threads);
  std::vector<RankPlace> places;
  for (const auto& bytes : group.ranks.gather(mine.take())) {
    ByteReader in(bytes);
    RankPlace place;
    place.host = in.text();
    place.pid = in.value<int>();
    place.device = in.text();
    place.threads = in.value<int>();
    places.push_back(std::move(place));
  }
  return places;
}

}  // namespace llm_tp

#include "comm/rank_watch.h"

#include <string>

#include "base/error.h"

namespace llm_tp {

void RankWatch::look(int look, const char* call) {
  if (look == 0) patience_ = Patience(limit_);
  host_.check_peers(call);
  if (patience_.ended())
    throw Error(ExitCode::kTryAgain,
                "a rank did not come within rank_timeout while rank " + std::to_string(host_.rank()) +
                    " waited in " + call +
                    "; it hangs, is stopped, or the network is cut; look at the hosts, then start the " +
                    "job again, or raise rank_timeout");
}

}  // namespace llm_tp

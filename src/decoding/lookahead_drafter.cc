#include <algorithm>
#include <deque>
#include <unordered_map>

#include "decoding/drafter.h"

namespace llm_tp {
namespace {

constexpr std::size_t kNgram = 4;           // tokens of an n-gram of the pool, the first one its key
constexpr std::size_t kSeen = 8;            // n-grams kept for one key
constexpr std::size_t kPoolKeys = 1 << 15;  // then the pool starts anew

class LookaheadDrafter final : public Drafter {
 public:
  void propose(std::span<const TokenId> tokens, std::int32_t most, std::vector<TokenId>& out) override {
    const std::size_t first = out.size();
    last_ = tokens.back();
    note(tokens.subspan(noted_ >= kNgram ? noted_ - kNgram + 1 : 0));
    noted_ = tokens.size();
    TokenId at = last_;
    while (static_cast<std::int32_t>(out.size() - first) < most) {
      const auto found = pool_.find(at);
      if (found == pool_.end()) break;
      const auto& ngram = found->second.front();
      out.insert(out.end(), ngram.begin() + 1, ngram.end());
      at = out.back();
    }
    // The rest of the window holds the last iteration's choices, moved on to where they belong now.
    while (static_cast<std::int32_t>(out.size() - first) < most && out.size() - first < window_.size())
      out.push_back(window_[out.size() - first]);
    out.resize(std::min(out.size(), first + static_cast<std::size_t>(most)));
  }

  void observe(std::span<const TokenId> chosen, std::int32_t accepted) override {
    window_.assign(chosen.begin() + accepted + 1, chosen.end());
    std::vector<TokenId> run{last_};
    run.insert(run.end(), chosen.begin(), chosen.end());
    note(run);
  }

 private:
  void note(std::span<const TokenId> run) {
    if (pool_.size() > kPoolKeys) pool_.clear();
    for (std::size_t i = 0; i + kNgram <= run.size(); ++i) {
      auto& seen = pool_[run[i]];
      std::vector<TokenId> ngram(run.begin() + static_cast<std::ptrdiff_t>(i),
                                 run.begin() + static_cast<std::ptrdiff_t>(i + kNgram));
      std::erase(seen, ngram);
      seen.push_front(std::move(ngram));
      if (seen.size() > kSeen) seen.pop_back();
    }
  }

  std::unordered_map<TokenId, std::deque<std::vector<TokenId>>> pool_;  // most recent first
  std::vector<TokenId> window_;
  TokenId last_ = -1;
  std::size_t noted_ = 0;
};

}  // namespace

std::unique_ptr<Drafter> make_lookahead_drafter() { return std::make_unique<LookaheadDrafter>(); }

}  // namespace llm_tp

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "decoding/drafter.h"

namespace llm_tp {
namespace {

constexpr std::size_t kLongest = 4, kShortest = 2;

/// Finds the last earlier occurrence of the last n tokens by a hash of every n-gram that went by. Tokens are
/// only ever appended between calls.
class NgramDrafter final : public Drafter {
 public:
  void propose(std::span<const TokenId> tokens, std::int32_t most, std::vector<TokenId>& out) override {
    for (; indexed_ < tokens.size(); ++indexed_)
      // The n-gram that ends here is what propose() asks for; it is noted once something follows it.
      if (indexed_ > 0)
        for (std::size_t n = kShortest; n <= std::min(kLongest, indexed_); ++n)
          last_[hash(tokens.subspan(indexed_ - n, n))] = indexed_;
    for (std::size_t n = std::min(kLongest, tokens.size()); n >= kShortest; --n) {
      const auto found = last_.find(hash(tokens.last(n)));
      if (found == last_.end()) continue;
      const std::size_t at = found->second;
      const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(at);
      if (!std::equal(begin - static_cast<std::ptrdiff_t>(n), begin,
                      tokens.end() - static_cast<std::ptrdiff_t>(n)))
        continue;
      // A period that reaches the end goes on as it began.
      const std::size_t period = tokens.size() - at;
      for (std::int32_t i = 0; i < most; ++i)
        out.push_back(tokens[at + static_cast<std::size_t>(i) % period]);
      return;
    }
  }
  void observe(std::span<const TokenId>, std::int32_t) override {}

 private:
  static std::uint64_t hash(std::span<const TokenId> ids) {
    std::uint64_t h = ids.size();
    for (TokenId id : ids) h = (h ^ static_cast<std::uint64_t>(id)) * 0x9E3779B97F4A7C15u;
    return h;
  }
  std::unordered_map<std::uint64_t, std::size_t> last_;  // n-gram -> index of what followed it last
  std::size_t indexed_ = 0;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter() { return std::make_unique<NgramDrafter>(); }

}  // namespace llm_tp

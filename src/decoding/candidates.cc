#include "decoding/candidates.h"

#include <algorithm>
#include <cmath>

#include "base/byte_stream.h"
#include "decoding/counter_rng.h"

namespace llm_tp {
namespace {

constexpr std::int32_t kTopPCandidates =
    256;  // nearly always hold the mass of top_p; else all logits are asked for

bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

ExpSum exp_sum(std::span<const float> logits, double scale) {
  float maximum = logits[0];
  for (float v : logits) maximum = std::max(maximum, v);
  ExpSum result{maximum * scale, 0};
  if (std::isinf(result.maximum)) return result;  // every token of the run is suppressed
  for (float v : logits) result.sum += std::exp(v * scale - result.maximum);
  return result;
}

std::vector<Candidate> best_of(std::span<const float> logits, TokenId first, std::int64_t most) {
  std::vector<Candidate> best;
  if (most == 1) {  // greedy: one pass, the lowest id wins a tie
    if (logits.empty()) return best;
    const auto at = std::max_element(logits.begin(), logits.end());
    return {{first + static_cast<TokenId>(at - logits.begin()), *at}};
  }
  best.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    best.push_back({first + static_cast<TokenId>(i), logits[i]});
  if (most >= static_cast<std::int64_t>(best.size())) {
    std::sort(best.begin(), best.end(), better);
    return best;
  }
  std::nth_element(best.begin(), best.begin() + (most - 1), best.end(), better);
  const float last = best[static_cast<std::size_t>(most - 1)].logit;
  const auto end =
      std::partition(best.begin(), best.end(), [&](const Candidate& c) { return c.logit >= last; });
  best.erase(end, best.end());
  std::sort(best.begin(), best.end(), better);
  return best;
}

}  // namespace

std::int32_t RowRequest::candidates() const noexcept {
  std::int32_t wanted = std::max(best, 1);
  if (samples() && top_k > 0) wanted = std::max(wanted, top_k);
  if (samples() && top_k == 0 && top_p < 1) wanted = std::max(wanted, kTopPCandidates);
  return wanted;
}

RowCandidates find_candidates(std::span<const float> logits, Range vocabulary, std::int64_t rows_per_sum,
                              const RowRequest& request, std::int64_t most) {
  RowCandidates found;
  const auto first = static_cast<TokenId>(vocabulary.begin);
  found.best = best_of(logits, first, most);
  found.all = found.best.size() == logits.size();
  const double scale = request.samples() ? 1.0 / request.temperature : 1.0;
  for (std::size_t begin = 0; begin < logits.size(); begin += static_cast<std::size_t>(rows_per_sum)) {
    const auto run =
        logits.subspan(begin, std::min(static_cast<std::size_t>(rows_per_sum), logits.size() - begin));
    found.sums.push_back(exp_sum(run, 1.0));
    if (request.samples()) found.tempered.push_back(exp_sum(run, scale));
  }
  if (request.samples_freely()) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto id = first + static_cast<TokenId>(i);
      const double key = logits[i] * scale +
                         gumbel(request.seed, static_cast<std::uint32_t>(request.sequence),
                                static_cast<std::uint32_t>(request.position), static_cast<std::uint32_t>(id));
      if (found.drawn.id < 0 || key > found.drawn_key) found.drawn = {id, logits[i]}, found.drawn_key = key;
    }
  }
  if (vocabulary.contains(request.target))
    found.target = {request.target, logits[static_cast<std::size_t>(request.target - vocabulary.begin)]};
  if (request.whole != 0) found.whole.assign(logits.begin(), logits.end());
  return found;
}

std::vector<std::byte> to_bytes(const std::vector<RowCandidates>& rows) {
  ByteWriter out;
  out.value(static_cast<std::uint64_t>(rows.size()));
  for (const RowCandidates& r : rows) {
    out.list(r.best);
    out.value(r.all);
    out.list(r.sums);
    out.list(r.tempered);
    out.value(r.drawn);
    out.value(r.drawn_key);
    out.value(r.target);
    out.list(r.whole);
  }
  return out.take();
}

std::vector<RowCandidates> candidates_from_bytes(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const auto count = in.value<std::uint64_t>();
  std::vector<RowCandidates> rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    RowCandidates r;
    r.best = in.list<Candidate>();
    r.all = in.value<bool>();
    r.sums = in.list<ExpSum>();
    r.tempered = in.list<ExpSum>();
    r.drawn = in.value<Candidate>();
    r.drawn_key = in.value<double>();
    r.target = in.value<Candidate>();
    r.whole = in.list<float>();
    rows.push_back(std::move(r));
  }
  return rows;
}

}  // namespace llm_tp

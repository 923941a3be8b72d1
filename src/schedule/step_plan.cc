#include "schedule/step_plan.h"

#include <string>

#include "base/byte_stream.h"

namespace llm_tp {
namespace {
constexpr std::uint32_t kFormat = 0x4c545032;  // "LTP2"
}

std::vector<std::byte> StepPlan::to_bytes() const {
  ByteWriter out;
  out.value(kFormat);
  out.value(step);
  out.value(kind);
  out.value(model);
  out.list(tokens);
  out.list(slices);
  out.list(pages);
  out.list(copy_from);
  out.list(copy_to);
  score.write(out);
  return out.take();
}

StepPlan StepPlan::from_bytes(std::span<const std::byte> bytes, std::uint64_t expected) {
  ByteReader in(bytes);
  LLM_TP_CHECK(in.value<std::uint32_t>() == kFormat,
               "step plan of another format: are all ranks of one build?");
  StepPlan plan;
  plan.step = in.value<std::uint64_t>();
  LLM_TP_CHECK(plan.step == expected, "this rank expected step " + std::to_string(expected) + " and got " +
                                          std::to_string(plan.step));
  plan.kind = in.value<Kind>();
  LLM_TP_CHECK(plan.kind == Kind::kRun || plan.kind == Kind::kReport || plan.kind == Kind::kStop,
               "step plan of an unknown kind");
  plan.model = in.value<ModelSlot>();
  LLM_TP_CHECK(plan.model == ModelSlot::kMain || plan.model == ModelSlot::kDraft,
               "step plan of an unknown model");
  plan.tokens = in.list<TokenId>();
  plan.slices = in.list<PlanSlice>();
  plan.pages = in.list<PageId>();
  plan.copy_from = in.list<PageId>();
  plan.copy_to = in.list<PageId>();
  plan.score = ScoreList::read(in, plan.tokens.size());
  LLM_TP_CHECK(in.done() && plan.copy_from.size() == plan.copy_to.size(), "step plan with a wrong length");
  std::size_t rows = 0;
  for (const PlanSlice& s : plan.slices) {
    LLM_TP_CHECK(
        s.rows > 0 && s.first_position >= 0 && s.first_page >= 0 && s.pages >= 0 &&
            static_cast<std::size_t>(s.first_page) + static_cast<std::size_t>(s.pages) <= plan.pages.size(),
        "step plan with a slice outside its page table");
    rows += static_cast<std::size_t>(s.rows);
  }
  LLM_TP_CHECK(rows == plan.tokens.size(), "step plan whose slices do not cover its tokens");
  return plan;
}

}  // namespace llm_tp

#include "schedule/step_plan.h"

#include <string>

#include "base/byte_stream.h"

namespace llm_tp {
namespace {
constexpr std::uint32_t kFormat = 0x4c545033;  // "LTP3"
}

std::vector<std::byte> StepPlan::to_bytes() const {
  ByteWriter out;
  out.value(kFormat);
  out.value(step);
  out.value(kind);
  out.value(model);
  out.list(tokens);
  out.list(slices);
  out.list(tables);
  out.list(pages);
  out.list(copies);
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
  plan.tables = in.list<PageTable>();
  plan.pages = in.list<PageId>();
  plan.copies = in.list<PageCopy>();
  plan.score = ScoreList::read(in, plan.tokens.size());
  LLM_TP_CHECK(in.done(), "step plan with a wrong length");
  LLM_TP_CHECK(plan.tables.size() == plan.slices.size() * plan.caches(),
               "step plan whose page tables are not those of its slices");
  for (const PageTable& t : plan.tables)
    LLM_TP_CHECK(
        t.first_page >= 0 && t.pages >= 0 && t.pages_before >= 0 &&
            static_cast<std::size_t>(t.first_page) + static_cast<std::size_t>(t.pages) <= plan.pages.size(),
        "step plan with a page table outside its pages");
  for (const PageCopy& c : plan.copies)
    LLM_TP_CHECK(c.cache >= 0 && static_cast<std::size_t>(c.cache) < plan.caches(),
                 "step plan with a page copy in an unknown cache");
  std::size_t rows = 0;
  for (const PlanSlice& s : plan.slices) {
    LLM_TP_CHECK(s.rows > 0 && s.first_position >= 0 && s.adapter >= kNoAdapter,
                 "step plan with a slice without rows, position or adapter");
    rows += static_cast<std::size_t>(s.rows);
  }
  LLM_TP_CHECK(rows == plan.tokens.size(), "step plan whose slices do not cover its tokens");
  return plan;
}

}  // namespace llm_tp

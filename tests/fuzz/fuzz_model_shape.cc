#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/json_file.h"
#include "model/shard_plan.h"
#include "weights/gguf.h"

namespace {

using llm_tp::ModelShape;
using llm_tp::RankShare;
using llm_tp::ShardPlan;

ModelShape shape_of(std::string_view text) {
  if (text.starts_with("GGUF"))
    return ModelShape::from_gguf(llm_tp::GgufFile::parse(std::as_bytes(std::span(text)), "fuzz"));
  return ModelShape::from_config(llm_tp::parse_json_object(text, "fuzz"), "fuzz");
}

/// Ranges in rank order that cover all of `total`.
void check_cover(const ShardPlan& plan, llm_tp::Range RankShare::*part, std::int64_t total) {
  std::int64_t end = 0;
  for (const RankShare& share : plan.ranks) {
    if ((share.*part).begin != end || (share.*part).end < end) __builtin_trap();
    end = (share.*part).end;
  }
  if (end != total) __builtin_trap();
}

}  // namespace

/// A config.json, or the metadata of a GGUF file, is either a shape that any number of ranks can share, or an
/// Error kBadData.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const ModelShape shape = shape_of({reinterpret_cast<const char*>(data), size});
    for (const int world : {1, 3, 8})
      for (const bool whole_experts : {false, true}) {
        const ShardPlan plan = ShardPlan::make(shape, world, {32, 1, 256, 32}, {}, whole_experts);
        check_cover(plan, &RankShare::query_heads, shape.query_heads);
        check_cover(plan, &RankShare::vocab_rows, shape.vocabulary);
        if (shape.any_dense_layer()) check_cover(plan, &RankShare::mlp_columns, shape.mlp_columns);
        if (plan.whole_experts) check_cover(plan, &RankShare::experts, shape.experts.count);
      }
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  return 0;
}

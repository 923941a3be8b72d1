#include "kernels/cpu/attention.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/row_runs.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

void attend_tile_f32(const AttentionTile& tile) { attend_tile<float>(tile); }
void attend_tile_f16(const AttentionTile& tile) { attend_tile<hwy::float16_t>(tile); }
void attend_tile_bf16(const AttentionTile& tile) { attend_tile<BFloat16>(tile); }
void attend_tile_int8(const AttentionTile& tile) { attend_tile<std::int8_t>(tile); }
void attend_tile_fp8(const AttentionTile& tile) { attend_tile<Fp8>(tile); }

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(attend_tile_f32);
HWY_EXPORT(attend_tile_f16);
HWY_EXPORT(attend_tile_bf16);
HWY_EXPORT(attend_tile_int8);
HWY_EXPORT(attend_tile_fp8);

namespace {

constexpr int kTileRows = 32;  // query rows that walk the keys together, so that a block is read from cache

using TileKernel = void (*)(const AttentionTile&);
TileKernel kernel_for(DType dtype) {
  if (dtype == DType::kF32) return HWY_DYNAMIC_DISPATCH(attend_tile_f32);
  if (dtype == DType::kF16) return HWY_DYNAMIC_DISPATCH(attend_tile_f16);
  if (dtype == DType::kBF16) return HWY_DYNAMIC_DISPATCH(attend_tile_bf16);
  if (dtype == DType::kInt8) return HWY_DYNAMIC_DISPATCH(attend_tile_int8);
  return HWY_DYNAMIC_DISPATCH(attend_tile_fp8);
}

/// One task: some positions of a slice, all query heads of this rank that read one KV head.
struct Task {
  const BatchSlice* slice = nullptr;
  std::int32_t begin = 0, end = 0;  // rows of the slice
  int kv_head = 0;                  // of this rank
};

/// Query heads of this rank, local numbering, that read its KV head `kv_head`.
Range readers_of(const HeadMap& heads, int kv_head) {
  const std::int64_t first = (heads.kv_heads.begin + kv_head) * heads.group;
  return {std::max(first, heads.query_heads.begin) - heads.query_heads.begin,
          std::min(first + heads.group, heads.query_heads.end) - heads.query_heads.begin};
}

std::vector<Task> tasks_of(const Batch& batch, const HeadMap& heads) {
  std::vector<Task> tasks;
  for (const BatchSlice& slice : batch.slices) {
    // The last rows see the most keys: they go first, so that no thread is left with a long task at the end.
    for (int kv_head = 0; kv_head < heads.kv_heads.size(); ++kv_head) {
      const auto readers = static_cast<std::int32_t>(readers_of(heads, kv_head).size());
      if (readers <= 0) continue;
      const std::int32_t rows = std::max(1, kTileRows / readers);
      for (std::int32_t end = slice.rows; end > 0; end -= rows)
        tasks.push_back({&slice, std::max(0, end - rows), end, kv_head});
    }
  }
  return tasks;
}

std::int64_t multiplications_of(const Batch& batch, const HeadMap& heads) {
  std::int64_t keys = 0;
  for (const BatchSlice& slice : batch.slices)
    keys += std::int64_t{slice.rows} * (std::int64_t{slice.first_position} + slice.rows);
  return 2 * keys * heads.query_heads.size() * heads.head_dim;
}

/// Fills what the kernel wants to know of a task; the vectors are the thread's own and keep their memory.
struct TaskMemory {
  std::vector<AttentionRow> rows;
  std::vector<const std::byte*> keys, values;
  std::vector<float> scratch;
};

}  // namespace

void attend(ThreadPool& pool, TensorView out, TensorView q, const CpuKvCache& cache, int layer,
            const Batch& batch, const HeadMap& heads, const AttentionOptions& options) {
  const KvShape& shape = cache.shape();
  const std::int64_t width = heads.query_heads.size() * heads.head_dim;
  LLM_TP_CHECK(0 <= layer && layer < shape.layers, "attend: no such layer");
  if (width == 0 || batch.rows() == 0) return;
  LLM_TP_CHECK(heads.head_dim == shape.head_dim && heads.kv_heads.size() == shape.kv_heads,
               "attend: the heads are not those of the cache");
  LLM_TP_CHECK(heads.kv_heads.begin * heads.group <= heads.query_heads.begin &&
                   heads.query_heads.end <= heads.kv_heads.end * heads.group,
               "attend: a query head whose KV head is not of this rank");
  LLM_TP_CHECK(q.rows() == batch.rows() && out.rows() == batch.rows(),
               "attend: one row of q and out a token");
  LLM_TP_CHECK(q.columns() == width && out.columns() == width,
               "attend: q or out is not [T, heads * head_dim]");
  const auto first_seen_from = [&](std::int64_t position) {
    return options.window > 0 ? std::max<std::int64_t>(0, position + 1 - options.window) : 0;
  };
  for (const BatchSlice& slice : batch.slices)
    check_pages(shape, slice, first_seen_from(slice.first_position), "attend");

  const TileKernel kernel = kernel_for(shape.dtype);
  const std::vector<Task> tasks = tasks_of(batch, heads);
  const std::int64_t padded = CpuKvCache::padded_head_dim(shape);

  const auto run_task = [&](int index, TaskMemory& memory) {
    const Task& task = tasks[static_cast<std::size_t>(index)];
    const BatchSlice& slice = *task.slice;
    memory.rows.clear();
    const Range readers = readers_of(heads, task.kv_head);
    for (std::int32_t i = task.begin; i < task.end; ++i) {
      const std::int64_t position = std::int64_t{slice.first_position} + i;
      for (std::int64_t head = readers.begin; head < readers.end; ++head)
        memory.rows.push_back({q.row(slice.first_row + i) + head * heads.head_dim,
                               out.row(slice.first_row + i) + head * heads.head_dim,
                               {first_seen_from(position), position + 1}});
    }
    const std::int64_t first_page = memory.rows.front().seen.begin / shape.page_tokens;
    memory.keys.clear();
    memory.values.clear();
    for (std::int64_t at = first_page * shape.page_tokens; at < memory.rows.back().seen.end;
         at += shape.page_tokens) {
      const PageId page = slice.page_of(at, shape.page_tokens);
      memory.keys.push_back(cache.keys(layer, page, task.kv_head));
      memory.values.push_back(cache.values(layer, page, task.kv_head));
    }
    memory.scratch.resize(attention_scratch(memory.rows.size(), padded));
    kernel({memory.rows, memory.keys, memory.values, first_page, memory.scratch, shape.head_dim, padded,
            shape.page_tokens, options.scale, options.soft_cap});
  };

  const int count = static_cast<int>(tasks.size());
  if (count <= 1 || pool.threads() == 1 || multiplications_of(batch, heads) < 4 * kSmallJob) {
    TaskMemory memory;
    for (int i = 0; i < count; ++i) run_task(i, memory);
    return;
  }
  std::vector<TaskMemory> memory(static_cast<std::size_t>(pool.threads()));
  pool.run(count, [&](int index, int thread) { run_task(index, memory[static_cast<std::size_t>(thread)]); });
}

}  // namespace llm_tp
#endif

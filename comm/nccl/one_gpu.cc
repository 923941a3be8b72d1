#include "comm/nccl/one_gpu.h"

#include "comm/tree_reduce.h"
#include "kernels/cuda/device_rows.h"
#include "kernels/cuda/rank_sums.h"

namespace llm_tp {

void OneGpu::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const std::int64_t elements = checked_elements(out, mine, parts, 0, 1);
  LLM_TP_CHECK(out.row_stride == out.columns() || out.rows() <= 1, "sums on a GPU: out must be contiguous");
  if (elements > 0)
    tree_sum(device_.stream(), reinterpret_cast<float*>(out.data), reinterpret_cast<float*>(mine.data),
             elements, elements, parts.additions());
}

void OneGpu::sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room, TensorView mine,
                          const TreeParts& parts) {
  const std::int64_t elements = checked_elements(room, mine, parts, 0, 1);
  if (&ops != &device_ || elements == 0) return Communicator::sum_add_norm(ops, norm, room, mine, parts);
  tree_add_norm(device_.stream(), residual_norm_of(norm), reinterpret_cast<float*>(mine.data), elements,
                parts.additions());
}

void OneGpu::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  check_shared_rows(out, mine, owners, 1);
  if (out.data == mine.data || out.rows() == 0 || out.columns() == 0) return;
  const auto bytes = [](std::int64_t numbers) { return static_cast<std::size_t>(numbers) * sizeof(float); };
  check_cuda(cudaMemcpy2DAsync(out.data, bytes(out.row_stride), mine.data, bytes(mine.row_stride),
                               bytes(out.columns()), static_cast<std::size_t>(out.rows()),
                               cudaMemcpyDeviceToDevice, device_.stream()),
             "cudaMemcpy2DAsync on the device");
}

std::vector<std::vector<std::byte>> OneGpu::gather(std::span<const std::byte> mine) {
  return host_.gather(mine);
}

}  // namespace llm_tp

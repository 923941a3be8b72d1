#include "comm/staged_communicator.h"

#include "comm/tree_reduce.h"

namespace llm_tp {
namespace {

void check_contiguous(TensorView out) {
  LLM_TP_CHECK(out.dtype == DType::kF32 && (out.row_stride == out.columns() || out.rows() <= 1),
               "a staged result must be contiguous f32");
}

}  // namespace

std::string StagedCommunicator::description() const { return host_.description() + ", by way of the host"; }

void StagedCommunicator::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  check_contiguous(out);
  result_.resize(static_cast<std::size_t>(out.rows() * out.columns()));
  const TensorView result = TensorView::matrix(result_.data(), out.rows(), out.columns());
  const TensorView roots = parts.roots_of_rank(rank()) > 0 ? device_.on_host(mine) : TensorView{};
  host_.sum_tree(result, roots, parts);
  device_.upload(out.data, std::as_bytes(std::span(result_)));
}

void StagedCommunicator::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_contiguous(out);
  result_.resize(static_cast<std::size_t>(out.rows() * out.columns()));
  const TensorView result = TensorView::matrix(result_.data(), out.rows(), out.columns());
  host_.share_rows(result, device_.on_host(mine), owners);
  device_.upload(out.data, std::as_bytes(std::span(result_)));
}

std::vector<std::vector<std::byte>> StagedCommunicator::gather(std::span<const std::byte> mine) {
  const CallTimer timer(seconds_);
  return host_.gather(mine);
}

}  // namespace llm_tp

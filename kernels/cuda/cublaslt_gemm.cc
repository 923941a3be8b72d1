#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "base/error.h"
#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/cublaslt_library.h"
#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device_factory.h"
#include "kernels/cuda/handles.h"

namespace llm_tp {
namespace {

void check_cublas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const DeviceLog& log = DeviceLog::of_this_thread();
  throw DeviceError(ExitCode::kUnavailable, "cuBLASLt, " + log.device() + ": " + call + ": " +
                                                cublaslt_library().status_string(status) + "; " +
                                                log.suspects());
}

/// A handle of cuBLASLt and how it ends.
template <class Opaque>
using Owned = std::unique_ptr<Opaque, cublasStatus_t (*)(Opaque*)>;

template <class Opaque, class Create, class... Arguments>
Owned<Opaque> made(const char* call, Create create, cublasStatus_t (*destroy)(Opaque*),
                   Arguments... arguments) {
  Opaque* handle = nullptr;
  check_cublas(create(&handle, arguments...), call);
  return {handle, destroy};
}

/// All that a choice of the library may depend on.
struct Shape {
  std::int64_t outputs, tokens, inputs;
  std::int64_t weight_stride, token_stride, out_stride;
  std::int64_t out_alignment;  // bytes
  std::int64_t has_bias;
  std::array<std::int64_t, 8> key() const {
    return {outputs, tokens, inputs, weight_stride, token_stride, out_stride, out_alignment, has_bias};
  }
};

std::int64_t alignment_of(DeviceRows rows) {
  const std::int64_t bits =
      static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(rows.data)) | rows.stride * 4 | 256;
  return bits & -bits;
}

/// cuBLASLt has matrices by columns, so ours are their transposes: out^T [N,T] = (w^T)^T * x^T.
class CublasLtGemm final : public Bf16Gemm {
 public:
  explicit CublasLtGemm(cudaStream_t stream)
      : stream_(stream), workspace_(stream, "the workspace of cuBLASLt") {
    if (!blas_.missing.empty()) throw Error(ExitCode::kUnavailable, "device cuda: " + blas_.missing);
    cublasLtHandle_t handle = nullptr;
    check_cublas(blas_.create(&handle), "cublasLtCreate");
    handle_ = {handle, blas_.destroy};
    workspace_.reserve(kGemmWorkspaceBytes);
  }

  void multiply(DeviceRows out, Bf16Matrix x, Bf16Matrix w, const float* bias) override {
    const Shape shape{w.rows,   x.rows,     w.columns,         w.stride,
                      x.stride, out.stride, alignment_of(out), bias != nullptr ? 1 : 0};
    const Plan& plan = plan_of(shape);
    if (bias != nullptr) set(*plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const float one = 1.0f, zero = 0.0f;
    DeviceLog::of_this_thread().launches("cublasLtMatmul");
    check_cublas(blas_.multiply(handle_.get(), plan.product.get(), &one, w.data, plan.w.get(), x.data,
                                plan.x.get(), &zero, out.data, plan.out.get(), out.data, plan.out.get(),
                                &plan.algorithm, workspace_.data(), kGemmWorkspaceBytes, stream_),
                 "cublasLtMatmul");
  }

 private:
  static constexpr std::size_t kMostPlans = 1024;

  struct Plan {
    Owned<cublasLtMatmulDescOpaque_t> product;
    Owned<cublasLtMatrixLayoutOpaque_t> w, x, out;
    cublasLtMatmulAlgo_t algorithm;
  };

  template <class T>
  void set(cublasLtMatmulDescOpaque_t& product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublas(blas_.product_set(&product, attribute, &value, sizeof value),
                 "cublasLtMatmulDescSetAttribute");
  }
  Owned<cublasLtMatrixLayoutOpaque_t> layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns,
                                             std::int64_t stride) {
    return made<cublasLtMatrixLayoutOpaque_t>("cublasLtMatrixLayoutCreate", blas_.layout_create,
                                              blas_.layout_destroy, type, static_cast<std::uint64_t>(rows),
                                              static_cast<std::uint64_t>(columns), stride);
  }

  const Plan& plan_of(const Shape& shape) {
    const auto found = plans_.find(shape.key());
    if (found != plans_.end()) return found->second;
    if (plans_.size() == kMostPlans) plans_.clear();  // lengths of last chunks may be many
    return plans_.emplace(shape.key(), make_plan(shape)).first->second;
  }

  /// The library's first choice, which it makes from the shape and the device alone: to time several would
  /// choose other sums in another run.
  Plan make_plan(const Shape& shape) {
    Plan plan{made<cublasLtMatmulDescOpaque_t>("cublasLtMatmulDescCreate", blas_.product_create,
                                               blas_.product_destroy, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              layout(CUDA_R_16BF, shape.inputs, shape.outputs, shape.weight_stride),
              layout(CUDA_R_16BF, shape.inputs, shape.tokens, shape.token_stride),
              layout(CUDA_R_32F, shape.outputs, shape.tokens, shape.out_stride),
              {}};
    set(*plan.product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (shape.has_bias != 0) set(*plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    const auto preference = made<cublasLtMatmulPreferenceOpaque_t>(
        "cublasLtMatmulPreferenceCreate", blas_.preference_create, blas_.preference_destroy);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check_cublas(blas_.preference_set(preference.get(), attribute, &value, sizeof value),
                   "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kGemmWorkspaceBytes});
    // Parts of K that meet in the output come in any order; through the workspace they have one.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t{16});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t{16});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(shape.out_alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(shape.out_alignment));
    cublasLtMatmulHeuristicResult_t first{};
    int count = 0;
    check_cublas(blas_.choose(handle_.get(), plan.product.get(), plan.w.get(), plan.x.get(), plan.out.get(),
                              plan.out.get(), preference.get(), 1, &first, &count),
                 "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0)
      throw Error(ExitCode::kUnavailable,
                  "cuBLASLt knows no way to multiply " + std::to_string(shape.tokens) + " x " +
                      std::to_string(shape.inputs) + " by " + std::to_string(shape.inputs) + " x " +
                      std::to_string(shape.outputs) + "; use --gpu-products own");
    plan.algorithm = first.algo;
    return plan;
  }

  const CublasLtLibrary& blas_ = cublaslt_library();
  cudaStream_t stream_;
  std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, decltype(&::cublasLtDestroy)> handle_{nullptr,
                                                                                                 nullptr};
  StreamMemory workspace_;
  std::map<std::array<std::int64_t, 8>, Plan> plans_;
};

}  // namespace

std::unique_ptr<Bf16Gemm> make_cublaslt_gemm(cudaStream_t stream) {
  return std::make_unique<CublasLtGemm>(stream);
}

LibraryPresence find_cublaslt() {
  const CublasLtLibrary& blas = cublaslt_library();
  if (!blas.missing.empty()) return {false, blas.missing};
  const std::size_t version = blas.get_version();
  return {true, "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
                    "." + std::to_string(version % 100) + " (" + blas.origin + ")"};
}

}  // namespace llm_tp

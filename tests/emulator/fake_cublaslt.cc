// The calls of cuBLASLt that kernels/cuda makes, on emulated device memory, in stream order. What the library
// would only answer with a status, or compute from memory that it does not own, is a refusal that says what
// is wrong. Sums are in index order by f32, as for some algorithm of the library.
//
// EMULATED_CUBLASLT=missing: it is not found.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "emulator/fake_cublaslt.h"
#include "emulator/fake_device.h"
#include "emulator/fake_memory.h"
#include "kernels/cuda/cublaslt_library.h"

using llm_tp::emulator::refuse;

struct cublasLtContext {};

namespace {

struct Product : cublasLtMatmulDescOpaque_t {
  bool transposed = false;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const float* bias = nullptr;
};
struct Layout : cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type = CUDA_R_32F;
  std::int64_t rows = 0, columns = 0, stride = 0;
};
struct Preference : cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace = 0;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // what is promised of A, B, C, D
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
};
/// What a choice holds for: a product that differs would be another algorithm's.
struct Choice {
  std::int32_t shape[6];  // m, n, k, strides of a, b, d
  std::uint32_t alignment[3], with_bias;
  std::uint64_t workspace;
};
static_assert(sizeof(Choice) <= sizeof(cublasLtMatmulAlgo_t));

int choices = 0;

const Product& of(cublasLtMatmulDesc_t p) { return static_cast<const Product&>(*p); }
const Layout& of(cublasLtMatrixLayout_t l) { return static_cast<const Layout&>(*l); }

template <class T>
T value_of(const void* from, std::size_t bytes, const char* what) {
  if (bytes != sizeof(T)) refuse(std::string("cuBLASLt: an attribute of another size: ") + what);
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

Choice choice_of(const Product& p, const Layout& a, const Layout& b, const Layout& d) {
  if (!p.transposed || a.type != CUDA_R_16BF || b.type != CUDA_R_16BF || d.type != CUDA_R_32F)
    refuse("cuBLASLt: the emulator knows a transposed bf16 matrix times a bf16 matrix into f32 alone");
  if (a.rows != b.rows || d.rows != a.columns || d.columns != b.columns || a.stride < a.rows ||
      b.stride < b.rows || d.stride < d.rows)
    refuse("cuBLASLt: shapes that do not fit each other");
  const auto narrow = [](std::int64_t x) { return static_cast<std::int32_t>(x); };
  return {{narrow(d.rows), narrow(d.columns), narrow(a.rows), narrow(a.stride), narrow(b.stride),
           narrow(d.stride)},
          {},
          p.epilogue == CUBLASLT_EPILOGUE_BIAS ? 1u : 0u,
          0};
}

void check_alignment(const void* at, std::uint32_t promised, const char* what) {
  if (reinterpret_cast<std::uintptr_t>(at) % promised != 0)
    refuse(std::string("cuBLASLt: ") + what + " is not aligned as the choice was told");
}

float wide(std::uint16_t bits) {
  const std::uint32_t word = std::uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &word, 4);
  return x;
}

std::size_t version() { return CUBLAS_VERSION; }
const char* status_string(cublasStatus_t) { return "an emulated failure"; }
cublasStatus_t create(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t destroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t product_create(cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) refuse("cuBLASLt: sums that are not f32");
  *made = new Product;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t product_destroy(cublasLtMatmulDesc_t p) {
  delete static_cast<Product*>(p);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t product_set(cublasLtMatmulDesc_t p, cublasLtMatmulDescAttributes_t attribute, const void* from,
                           std::size_t bytes) {
  auto& product = static_cast<Product&>(*p);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      product.transposed = value_of<cublasOperation_t>(from, bytes, "TRANSA") == CUBLAS_OP_T;
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      product.epilogue = value_of<std::uint32_t>(from, bytes, "EPILOGUE");
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      product.bias = value_of<const float*>(from, bytes, "BIAS_POINTER");
      break;
    default:
      refuse("cuBLASLt: an attribute of products that the emulator does not know");
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t layout_create(cublasLtMatrixLayout_t* made, cudaDataType_t type, std::uint64_t rows,
                             std::uint64_t columns, std::int64_t stride) {
  auto layout = std::make_unique<Layout>();
  layout->type = type;
  layout->rows = static_cast<std::int64_t>(rows);
  layout->columns = static_cast<std::int64_t>(columns);
  layout->stride = stride;
  *made = layout.release();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t layout_destroy(cublasLtMatrixLayout_t l) {
  delete static_cast<Layout*>(l);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t preference_create(cublasLtMatmulPreference_t* made) {
  *made = new Preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t preference_destroy(cublasLtMatmulPreference_t p) {
  delete static_cast<Preference*>(p);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t preference_set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute,
                              const void* from, std::size_t bytes) {
  auto& preference = static_cast<Preference&>(*p);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      preference.workspace = value_of<std::uint64_t>(from, bytes, "MAX_WORKSPACE_BYTES");
      break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      preference.reductions = value_of<std::uint32_t>(from, bytes, "REDUCTION_SCHEME_MASK");
      break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      preference.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES] =
          value_of<std::uint32_t>(from, bytes, "MIN_ALIGNMENT");
      break;
    default:
      refuse("cuBLASLt: a preference that the emulator does not know");
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t choose(cublasLtHandle_t, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                      cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                      cublasLtMatmulPreference_t p, int, cublasLtMatmulHeuristicResult_t* found, int* count) {
  const auto& preference = static_cast<const Preference&>(*p);
  if ((preference.reductions & CUBLASLT_REDUCTION_SCHEME_INPLACE) != 0)
    refuse("cuBLASLt: a choice that may add parts of a sum in any order");
  Choice choice = choice_of(of(product), of(a), of(b), of(d));
  choice.alignment[0] = preference.alignment[0];
  choice.alignment[1] = preference.alignment[1];
  choice.alignment[2] = preference.alignment[3];
  choice.workspace = preference.workspace;
  std::memcpy(&found->algo, &choice, sizeof choice);
  found->workspaceSize = preference.workspace;
  *count = 1;
  ++choices;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t multiply(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                        cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                        const void* beta, const void* c, cublasLtMatrixLayout_t, void* d,
                        cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm,
                        void* workspace, std::size_t workspace_bytes, cudaStream_t stream) {
  if (value_of<float>(alpha, 4, "alpha") != 1.0f || value_of<float>(beta, 4, "beta") != 0.0f || c != d)
    refuse("cuBLASLt: the emulator knows alpha 1 and beta 0 alone");
  const Choice wanted = choice_of(of(product), of(a_layout), of(b_layout), of(d_layout));
  Choice chosen;
  std::memcpy(&chosen, algorithm, sizeof chosen);
  if (std::memcmp(wanted.shape, chosen.shape, sizeof wanted.shape) != 0 ||
      wanted.with_bias != chosen.with_bias)
    refuse("cuBLASLt: an algorithm that was chosen for another product");
  if (workspace_bytes < chosen.workspace) refuse("cuBLASLt: less workspace than the algorithm may need");
  const std::int64_t m = wanted.shape[0], n = wanted.shape[1], k = wanted.shape[2];
  const std::int64_t a_stride = wanted.shape[3], b_stride = wanted.shape[4], d_stride = wanted.shape[5];
  check_alignment(a, chosen.alignment[0], "A");
  check_alignment(b, chosen.alignment[1], "B");
  check_alignment(d, chosen.alignment[2], "D");
  if (d_stride * 4 % chosen.alignment[2] != 0)
    refuse("cuBLASLt: columns of D are not aligned as the choice was told");
  const auto bytes = [](std::int64_t columns, std::int64_t stride, std::int64_t last, std::size_t size) {
    return static_cast<std::size_t>((columns - 1) * stride + last) * size;
  };
  llm_tp::emulator::require_device(a, bytes(m, a_stride, k, 2), "A of cublasLtMatmul");
  llm_tp::emulator::require_device(b, bytes(n, b_stride, k, 2), "B of cublasLtMatmul");
  llm_tp::emulator::require_device(d, bytes(n, d_stride, m, 4), "D of cublasLtMatmul");
  llm_tp::emulator::require_device(workspace, workspace_bytes, "the workspace of cublasLtMatmul");
  const float* const bias = wanted.with_bias != 0 ? of(product).bias : nullptr;
  if (bias != nullptr)
    llm_tp::emulator::require_device(bias, static_cast<std::size_t>(m) * 4, "the bias of cublasLtMatmul");
  const auto* const left = static_cast<const std::uint16_t*>(a);
  const auto* const right = static_cast<const std::uint16_t*>(b);
  auto* const out = static_cast<float*>(d);
  llm_tp::emulator::queue_work(stream, "cublasLtMatmul", {a, b, d, workspace, bias}, [=] {
    return [=] {
      for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = 0; i < m; ++i) {
          float sum = 0.0f;
          for (std::int64_t p = 0; p < k; ++p)
            sum += wide(left[i * a_stride + p]) * wide(right[j * b_stride + p]);
          out[j * d_stride + i] = bias != nullptr ? sum + bias[i] : sum;
        }
      return true;
    };
  });
  return CUBLAS_STATUS_SUCCESS;
}

llm_tp::CublasLtLibrary library() {
  llm_tp::CublasLtLibrary table;
  table.origin = "emulated";
  const char* const state = std::getenv("EMULATED_CUBLASLT");
  if (state != nullptr && std::strcmp(state, "missing") == 0)
    table.missing = "the emulated cuBLASLt was not found";
  table.get_version = version;
  table.status_string = status_string;
  table.create = create;
  table.destroy = destroy;
  table.product_create = product_create;
  table.product_destroy = product_destroy;
  table.product_set = product_set;
  table.layout_create = layout_create;
  table.layout_destroy = layout_destroy;
  table.preference_create = preference_create;
  table.preference_destroy = preference_destroy;
  table.preference_set = preference_set;
  table.choose = choose;
  table.multiply = multiply;
  return table;
}

}  // namespace

namespace llm_tp {

const CublasLtLibrary& cublaslt_library() {
  static const CublasLtLibrary table = library();
  return table;
}

namespace emulator {
int choices_of_cublaslt() { return choices; }
}  // namespace emulator
}  // namespace llm_tp

#include "kernels/cuda/cublaslt_library.h"

#include <string>

#include "base/shared_library.h"

namespace llm_tp {
namespace {

CublasLtLibrary load() {
  CublasLtLibrary blas;
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  // Where the loader looks, then where the build found it.
  const SharedLibrary library({name, LLM_TP_CUBLASLT_LIBRARY});
  blas.origin = library.origin();
  if (!library) {
    blas.missing = name + " was not found: install cuBLAS " + std::to_string(CUBLAS_VER_MAJOR) +
                   ", or add its folder to LD_LIBRARY_PATH";
    return blas;
  }
  const auto bind = [&](auto& call, const char* symbol) {
    library.bind(call, symbol);
    if (call == nullptr) blas.missing = blas.origin + " has no " + symbol;
  };
  bind(blas.get_version, "cublasLtGetVersion");
  bind(blas.status_string, "cublasLtGetStatusString");
  bind(blas.create, "cublasLtCreate");
  bind(blas.destroy, "cublasLtDestroy");
  bind(blas.product_create, "cublasLtMatmulDescCreate");
  bind(blas.product_destroy, "cublasLtMatmulDescDestroy");
  bind(blas.product_set, "cublasLtMatmulDescSetAttribute");
  bind(blas.layout_create, "cublasLtMatrixLayoutCreate");
  bind(blas.layout_destroy, "cublasLtMatrixLayoutDestroy");
  bind(blas.preference_create, "cublasLtMatmulPreferenceCreate");
  bind(blas.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  bind(blas.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  bind(blas.choose, "cublasLtMatmulAlgoGetHeuristic");
  bind(blas.multiply, "cublasLtMatmul");
  return blas;
}

}  // namespace

const CublasLtLibrary& cublaslt_library() {
  static const CublasLtLibrary library = load();
  return library;
}

}  // namespace llm_tp

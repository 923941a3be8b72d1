#pragma once
#include <cublasLt.h>

#include <string>

namespace llm_tp {

/// The calls of cuBLASLt that are made here. They are looked up when first needed, so that a program that was
/// built with its header starts on hosts without its 500 MB.
struct CublasLtLibrary {
  std::string origin;   // the file: "/usr/local/cuda/lib64/libcublasLt.so.13"
  std::string missing;  // why it cannot be used; empty where it can
  decltype(&::cublasLtGetVersion) get_version = nullptr;
  decltype(&::cublasLtGetStatusString) status_string = nullptr;
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmulDescCreate) product_create = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) product_destroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) product_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) choose = nullptr;
  decltype(&::cublasLtMatmul) multiply = nullptr;
};

/// Looked up once a process.
const CublasLtLibrary& cublaslt_library();

}  // namespace llm_tp

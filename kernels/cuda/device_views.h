#pragma once
// How the backend's ops see what they are given: tensors as rows in device memory, weights and caches as its
// own.
#include "kernels/cuda/cuda_kv_cache.h"
#include "kernels/cuda/cuda_weight.h"
#include "kernels/cuda/device_rows.h"

namespace llm_tp {

// The backend makes its own weights and caches, so these casts cannot meet another's.
inline const CudaPackedWeight& own(const PackedWeight& w) { return static_cast<const CudaPackedWeight&>(w); }
inline const CudaKvCache& own(const KvCache& cache) { return static_cast<const CudaKvCache&>(cache); }

inline bool has_nothing(TensorView t) { return t.rows() == 0 || t.columns() == 0; }

}  // namespace llm_tp

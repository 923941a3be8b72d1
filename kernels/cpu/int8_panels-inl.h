// Quantised weights with int8 activations: how rows are cut into tiles. Needs tile-inl.h and the instruction
// set's int8_tile<D, Rows>(job, panel, t); included as it is.

template <DType D, int Rows>
inline void int8_rows(const LinearJob& job, std::int64_t panel, std::int64_t t, std::int64_t t1) {
  for (; t + Rows <= t1; t += Rows) int8_tile<D, Rows>(job, panel, t);
  if constexpr (Rows > 1)
    if (t < t1) int8_rows<D, Rows / 2>(job, panel, t, t1);
}

template <DType D>
void int8_panels(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0,
                 std::int64_t t1) {
  for (std::int64_t panel = begin; panel < end; ++panel) int8_rows<D, kInt8Rows>(job, panel, t0, t1);
}

template <DType D>
constexpr WeightKernels kernels_of() {
  if constexpr (PackedLayout<D>::kQuantised) return {D, exact_panels<D>, int8_panels<D>};
  return {D, exact_panels<D>, nullptr};
}

/// The formats that this instruction set computes with: all of them.
constexpr WeightKernels kWeightKernels[] = {kernels_of<DType::kF32>(),  kernels_of<DType::kF16>(),
                                            kernels_of<DType::kBF16>(), kernels_of<DType::kQ8_0>(),
                                            kernels_of<DType::kQ4_0>(), kernels_of<DType::kQ4_1>()};
constexpr int kWeightKernelCount = sizeof(kWeightKernels) / sizeof(kWeightKernels[0]);

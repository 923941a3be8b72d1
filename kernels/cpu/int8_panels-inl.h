// Quantised weights with int8 activations: how rows are cut into tiles. Needs tile-inl.h and the instruction
// set's int8_tile<D, Rows>(job, panel, t); included as it is.

template <DType D, int Rows>
inline void int8_rows(const LinearJob& job, std::int64_t panel, std::int64_t t, std::int64_t t1) {
  for (; t + Rows <= t1; t += Rows) {
    if constexpr (PackedLayout<D>::kGrouped)
      int8_group_tile<PackedLayout<D>, Rows>(job, panel, t);
    else
      int8_tile<D, Rows>(job, panel, t);
  }
  if constexpr (Rows > 1)
    if (t < t1) int8_rows<D, Rows / 2>(job, panel, t, t1);
}

template <DType D>
void int8_panels(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0,
                 std::int64_t t1) {
  for (std::int64_t panel = begin; panel < end; ++panel) int8_rows<D, kInt8Rows>(job, panel, t0, t1);
}

template <DType D>
constexpr bool has_integers() {
  if constexpr (PackedLayout<D>::kGrouped) return PackedLayout<D>::kIntegers;
  return PackedLayout<D>::kQuantised;
}
/// Dtypes of one layout share their kernels.
template <DType D>
constexpr WeightKernels kernels_of(DType dtype = D) {
  if constexpr (has_integers<D>()) return {dtype, exact_panels<D>, int8_panels<D>};
  return {dtype, exact_panels<D>, nullptr};
}

/// The formats that this instruction set computes with: all of them.
constexpr WeightKernels kWeightKernels[] = {
    kernels_of<DType::kF32>(),
    kernels_of<DType::kF16>(),
    kernels_of<DType::kBF16>(),
    kernels_of<DType::kQ8_0>(),
    kernels_of<DType::kQ4_0>(),
    kernels_of<DType::kQ4_1>(),
    kernels_of<DType::kQ8_0>(DType::kQ5_0),
    kernels_of<DType::kQ5_1>(),
    kernels_of<DType::kQ2K>(),
    kernels_of<DType::kQ3K>(),
    kernels_of<DType::kQ4K>(),
    kernels_of<DType::kQ5K>(),
    kernels_of<DType::kQ6K>(),
    kernels_of<DType::kIQ4NL>(),
    kernels_of<DType::kIQ4XS>(),
    kernels_of<DType::kMXFP4>(),
    kernels_of<DType::kInt4G32>(),
    kernels_of<DType::kInt4G32>(DType::kInt4G64),
    kernels_of<DType::kInt4G32>(DType::kInt4G128),
    kernels_of<DType::kInt8G32>(),
    kernels_of<DType::kInt8G32>(DType::kInt8G64),
    kernels_of<DType::kInt8G32>(DType::kInt8G128),
    kernels_of<DType::kFp8G32>(),
    kernels_of<DType::kFp8G32>(DType::kFp8G64),
    kernels_of<DType::kFp8G32>(DType::kFp8G128),
    kernels_of<DType::kInt4Columns>(),
    kernels_of<DType::kInt8Columns>(),
};
constexpr int kWeightKernelCount = sizeof(kWeightKernels) / sizeof(kWeightKernels[0]);

// Rounds activations to int8 in blocks of 32. Needs tile-inl.h; included as it is.

/// A block of 32 numbers: scale amax / 127, quants to nearest, ties to even. A NaN makes the scale NaN, and
/// an infinity makes it infinite, so that neither is lost.
inline void round_block(const float* x, const RoundedRows& out, std::int64_t at) {
  constexpr int kVectors = 32 / Vec::kLanes;
  V most = Vec::ints(0);  // the bits of |x| order as |x| does, NaN last
  for (int v = 0; v < kVectors; ++v)
    most = Vec::larger(most, Vec::bits_and(Vec::bits(Vec::load(x + v * Vec::kLanes)), Vec::ints(0x7fffffff)));
  const float amax = __builtin_bit_cast(float, Vec::largest_lane(most));
  const float inverse = amax > 1e-30f ? 127.0f / amax : 0.0f;
  std::int8_t* q = out.q + 32 * at;
  V all = Vec::ints(0), first = all;
  for (int v = 0; v < kVectors; ++v) {
    const V n = Vec::to_int(Vec::mul(Vec::load(x + v * Vec::kLanes), Vec::broadcast(inverse)));
    all = Vec::add_ints(all, n);
    if (v == kVectors / 2 - 1) first = all;
    Vec::store_low_bytes(q + v * Vec::kLanes, n);
  }
  const std::int32_t sum = Vec::sum_lanes(all);
  out.d[at] = amax / 127.0f;
  out.half[at] = Vec::sum_lanes(first);
  out.dsum[at] = out.d[at] * static_cast<float>(sum);
  out.minus8q[at] = static_cast<std::int32_t>(0u - 8u * static_cast<std::uint32_t>(sum));
}

void round_rows(const LinearJob& job, std::int64_t t0, std::int64_t t1) {
  const std::int64_t blocks = job.columns / 32;
  for (std::int64_t t = t0; t < t1;) {
    const int width = tile_rows(t1 - t, kInt8Rows);
    for (int i = 0; i < width; ++i)
      for (std::int64_t b = 0; b < blocks; ++b)
        round_block(job.x + (t + i) * job.x_stride + 32 * b, job.rounded, t * blocks + b * width + i);
    t += width;
  }
}

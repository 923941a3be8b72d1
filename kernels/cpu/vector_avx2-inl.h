// The words that the kernels of linear layers are written in, for AVX2 with FMA and F16C. Like every *-inl.h
// it is included inside an anonymous namespace by the one translation unit of its instruction set, so that no
// function compiled for a newer processor can be picked by the linker for an older one.

struct Vec {
  using F = __m256;
  using V = __m256i;
  static constexpr int kLanes = 8;

  static F zero() { return _mm256_setzero_ps(); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static F broadcast(float v) { return _mm256_set1_ps(v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F from_f16(const std::byte* p) { return _mm256_cvtph_ps(half(p)); }
  static F from_bf16(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half(p)), 16));
  }
  static F from_int(V v) { return _mm256_cvtepi32_ps(v); }
  static V to_int(F v) { return _mm256_cvtps_epi32(v); }  // to nearest, ties to even
  static V bits(F v) { return _mm256_castps_si256(v); }

  static V load_bytes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const V*>(p)); }
  static V ints(std::int32_t v) { return _mm256_set1_epi32(v); }
  static V add_ints(V a, V b) { return _mm256_add_epi32(a, b); }
  static V larger(V a, V b) { return _mm256_max_epi32(a, b); }
  static V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
  static V bits_and(V a, V b) { return _mm256_and_si256(a, b); }
  static V shift_left(V a, int n) { return _mm256_sllv_epi32(a, ints(n)); }
  static V shift_right(V a, int n) { return _mm256_srlv_epi32(a, ints(n)); }
  static V shift_right_signed(V a, int n) { return _mm256_srav_epi32(a, ints(n)); }
  static std::int32_t sum_lanes(V v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }
  static std::int32_t largest_lane(V v) {
    __m128i s = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }
  /// The low byte of each lane.
  static void store_low_bytes(std::int8_t* p, V v) {
    const V low = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0c080400));
    const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), both);
  }

  // Bytes and 16-bit integers of neighbouring lanes, widened.
  static V from_i8(const std::byte* p) { return _mm256_cvtepi8_epi32(eighth(p)); }
  static V from_u8(const std::byte* p) { return _mm256_cvtepu8_epi32(eighth(p)); }
  static V from_i16(const std::byte* p) { return _mm256_cvtepi16_epi32(half(p)); }
  static V mul_ints(V a, V b) { return _mm256_mullo_epi32(a, b); }
  /// Replaces bytes 0 to 15 by those of the table.
  static V look_up(const std::int8_t* table, V index) {
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), index);
  }
  /// total + the sum of the four products of bytes of each lane: q, signed or not, |q| <= 128 times x,
  /// signed, |x| <= 127. Two products fit 16 bits.
  template <bool Signed>
  static V dot(V total, V q, V x) {
    const V pairs = Signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q))
                           : _mm256_maddubs_epi16(q, x);
    return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  /// e4m3 in the low byte of each lane; what lies above is ignored.
  static F from_e4m3(V v) {
    const V magnitude = bits_and(v, ints(0x7f));
    const F scaled = mul(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), broadcast(0x1p120f));
    const V nan = bits_and(_mm256_cmpeq_epi32(magnitude, ints(0x7f)), ints(0x7fc00000));
    const V sign = _mm256_slli_epi32(bits_and(v, ints(0x80)), 24);
    return _mm256_or_ps(scaled, _mm256_castsi256_ps(_mm256_or_si256(nan, sign)));
  }

 private:
  static __m128i eighth(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i half(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
};

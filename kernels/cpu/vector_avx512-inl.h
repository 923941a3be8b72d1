// The words of vector_avx2-inl.h for AVX-512 (F, BW, VL) with VNNI; included in the same way.

struct Vec {
  using F = __m512;
  using V = __m512i;
  static constexpr int kLanes = 16;

  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F broadcast(float v) { return _mm512_set1_ps(v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F from_f16(const std::byte* p) { return _mm512_cvtph_ps(half(p)); }
  static F from_bf16(const std::byte* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half(p)), 16));
  }
  static F from_int(V v) { return _mm512_cvtepi32_ps(v); }
  static V to_int(F v) { return _mm512_cvtps_epi32(v); }  // to nearest, ties to even
  static V bits(F v) { return _mm512_castps_si512(v); }

  static V load_bytes(const std::byte* p) { return _mm512_loadu_si512(p); }
  static V ints(std::int32_t v) { return _mm512_set1_epi32(v); }
  static V add_ints(V a, V b) { return _mm512_add_epi32(a, b); }
  static V larger(V a, V b) { return _mm512_max_epi32(a, b); }
  static V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
  static V bits_and(V a, V b) { return _mm512_and_si512(a, b); }
  static V shift_left(V a, int n) { return _mm512_sllv_epi32(a, ints(n)); }
  static V shift_right(V a, int n) { return _mm512_srlv_epi32(a, ints(n)); }
  static V shift_right_signed(V a, int n) { return _mm512_srav_epi32(a, ints(n)); }
  static std::int32_t sum_lanes(V v) { return _mm512_reduce_add_epi32(v); }
  static std::int32_t largest_lane(V v) { return _mm512_reduce_max_epi32(v); }
  /// The low byte of each lane.
  static void store_low_bytes(std::int8_t* p, V v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }

  static V from_i8(const std::byte* p) { return _mm512_cvtepi8_epi32(quarter(p)); }
  static V from_u8(const std::byte* p) { return _mm512_cvtepu8_epi32(quarter(p)); }
  static V from_i16(const std::byte* p) { return _mm512_cvtepi16_epi32(half(p)); }
  static V mul_ints(V a, V b) { return _mm512_mullo_epi32(a, b); }
  static V look_up(const std::int8_t* table, V index) {
    return _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), index);
  }
  template <bool Signed>
  static V dot(V total, V q, V x) {
    if constexpr (!Signed) return _mm512_dpbusd_epi32(total, q, x);
    const V signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(q), _mm512_setzero_si512(), x);
    return _mm512_dpbusd_epi32(total, _mm512_abs_epi8(q), signed_x);
  }
  static F from_e4m3(V v) {
    const V magnitude = bits_and(v, ints(0x7f));
    const F scaled = mul(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 20)), broadcast(0x1p120f));
    const V nan = _mm512_maskz_mov_epi32(_mm512_cmpeq_epi32_mask(magnitude, ints(0x7f)), ints(0x7fc00000));
    const V sign = _mm512_slli_epi32(bits_and(v, ints(0x80)), 24);
    return _mm512_castsi512_ps(_mm512_or_si512(bits(scaled), _mm512_or_si512(nan, sign)));
  }

 private:
  static __m128i quarter(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m256i half(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
};

// Comparisons of vectors of doubles and of int64, whose results are masks of bits with AVX-512 and else of lanes.
#pragma once

#include "simd.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

constexpr int kLanes = kVectorLanes<double>;

#if defined(__AVX512F__)
using Mask = __mmask8;
GRIDLESS_INLINE Mask less(Vector<double> a, Vector<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
GRIDLESS_INLINE Mask equal(Vector<double> a, Vector<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
GRIDLESS_INLINE Mask less(Integers<double> a, Integers<double> b) {
  return _mm512_cmplt_epi64_mask((__m512i)a, (__m512i)b);
}
GRIDLESS_INLINE Vector<double> choose(Mask mask, Vector<double> a, Vector<double> b) {
  return _mm512_mask_mov_pd(b, mask, a);
}
GRIDLESS_INLINE Integers<double> choose(Mask mask, Integers<double> a, Integers<double> b) {
  return (Integers<double>)_mm512_mask_mov_epi64((__m512i)b, mask, (__m512i)a);
}
GRIDLESS_INLINE uint32_t bits_of(Mask mask) { return mask; }
GRIDLESS_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return _mm512_max_pd(a, b); }
GRIDLESS_INLINE Vector<double> smaller(Vector<double> a, Vector<double> b) { return _mm512_min_pd(a, b); }
// The lanes of `to`, moved one up; the last of `from` is the first.
GRIDLESS_INLINE Vector<double> moved_up(Vector<double> from, Vector<double> to) {
  return (Vector<double>)_mm512_alignr_epi64((__m512i)to, (__m512i)from, 7);
}
GRIDLESS_INLINE Integers<double> moved_up(Integers<double> from, Integers<double> to) {
  return (Integers<double>)_mm512_alignr_epi64((__m512i)to, (__m512i)from, 7);
}
#else
using Mask = Integers<double>;
GRIDLESS_INLINE Mask less(Vector<double> a, Vector<double> b) { return a < b; }
GRIDLESS_INLINE Mask equal(Vector<double> a, Vector<double> b) { return a == b; }
GRIDLESS_INLINE Mask less(Integers<double> a, Integers<double> b) { return a < b; }
GRIDLESS_INLINE Vector<double> choose(Mask mask, Vector<double> a, Vector<double> b) {
  return where<double>(mask, a, b);
}
GRIDLESS_INLINE Integers<double> choose(Mask mask, Integers<double> a, Integers<double> b) {
  return (a & mask) | (b & ~mask);
}
GRIDLESS_INLINE uint32_t bits_of(Mask mask) {
#if defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_pd((__m256d)mask));
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_pd((__m128d)mask));
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<uint32_t>(mask[lane] & 1) << lane;
  return bits;
#endif
}
GRIDLESS_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) {
#if defined(__AVX2__)
  return _mm256_max_pd(a, b);
#elif defined(__SSE2__)
  return _mm_max_pd(a, b);
#else
  return choose(a > b, a, b);
#endif
}
GRIDLESS_INLINE Vector<double> smaller(Vector<double> a, Vector<double> b) {
#if defined(__AVX2__)
  return _mm256_min_pd(a, b);
#elif defined(__SSE2__)
  return _mm_min_pd(a, b);
#else
  return choose(a < b, a, b);
#endif
}
template <class V>
GRIDLESS_INLINE V moved_up(V from, V to) {
#if defined(__AVX2__)
  const __m256i carried = _mm256_permute2x128_si256((__m256i)from, (__m256i)to, 0x21);  // high half, low half
  return (V)_mm256_alignr_epi8((__m256i)to, carried, 8);
#elif defined(__SSE2__)
  return (V)_mm_shuffle_pd((__m128d)from, (__m128d)to, 1);
#else
  V moved;
  moved[0] = from[kLanes - 1];
  for (int lane = 1; lane < kLanes; ++lane) moved[lane] = to[lane - 1];
  return moved;
#endif
}
#endif

GRIDLESS_INLINE Integers<double> load(const int64_t* from) {
  Integers<double> vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

GRIDLESS_INLINE void store(int64_t* to, Integers<double> vector) { __builtin_memcpy(to, &vector, sizeof vector); }

GRIDLESS_INLINE Vector<double> load_doubles(const double* from) { return load<double>(from); }

GRIDLESS_INLINE Vector<double> load_doubles(const float* from) {
  typedef float Floats __attribute__((vector_size(GRIDLESS_VECTOR_BYTES / 2)));
  Floats floats;
  __builtin_memcpy(&floats, from, sizeof floats);
  return __builtin_convertvector(floats, Vector<double>);
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

// Vectors as wide as the instruction set that this file is compiled for, in the vector types of GCC and Clang.
//
// Include only from files that are compiled once for each instruction set: everything here lives in a namespace of that
// set's name, so that the linker never takes one set's code for another's. For the same reason such files use no
// containers of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define GRIDLESS_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define GRIDLESS_VECTOR_BYTES 32
#else
#define GRIDLESS_VECTOR_BYTES 16
#endif

#define GRIDLESS_INLINE inline __attribute__((always_inline))

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

template <class T>
struct VectorOf;

template <>
struct VectorOf<float> {
  typedef float Vector __attribute__((vector_size(GRIDLESS_VECTOR_BYTES)));
  typedef int32_t Integers __attribute__((vector_size(GRIDLESS_VECTOR_BYTES)));
};

template <>
struct VectorOf<double> {
  typedef double Vector __attribute__((vector_size(GRIDLESS_VECTOR_BYTES)));
  typedef int64_t Integers __attribute__((vector_size(GRIDLESS_VECTOR_BYTES)));
};

template <class T>
using Vector = typename VectorOf<T>::Vector;
template <class T>
using Integers = typename VectorOf<T>::Integers;

template <class T>
constexpr int kVectorLanes = GRIDLESS_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
GRIDLESS_INLINE Vector<T> load(const T* from) {
  Vector<T> vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class T>
GRIDLESS_INLINE void store(T* to, Vector<T> vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

constexpr int kCacheLine = 64;  // bytes

// Inlined by force: GCC takes a function that does nothing but this for one without effect and leaves out its calls.
GRIDLESS_INLINE void prefetch(const void* place) { __builtin_prefetch(place); }

// The first lanes; the others are not touched, or 0.
template <class T>
GRIDLESS_INLINE void store_some(T* to, Vector<T> vector, int lanes) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << lanes) - 1), vector);
  else _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1u << lanes) - 1), vector);
#else
  __builtin_memcpy(to, &vector, sizeof(T) * static_cast<std::size_t>(lanes));
#endif
}

template <class T>
GRIDLESS_INLINE Vector<T> load_some(const T* from, int lanes) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), from);
  else return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << lanes) - 1), from);
#else
  Vector<T> vector = {};
  __builtin_memcpy(&vector, from, sizeof(T) * static_cast<std::size_t>(lanes));
  return vector;
#endif
}

// So many lanes, at most all: whole vectors are cheaper where there are no masks.
template <class T>
GRIDLESS_INLINE Vector<T> load_lanes(const T* from, int lanes) {
  return lanes == kVectorLanes<T> ? load<T>(from) : load_some<T>(from, lanes);
}

template <class T>
GRIDLESS_INLINE void store_lanes(T* to, Vector<T> vector, int lanes) {
  if (lanes == kVectorLanes<T>) store<T>(to, vector);
  else store_some<T>(to, vector, lanes);
}

template <int N>
struct VectorCount {
  static constexpr int value = N;
};

// Calls body(count, first channel, lanes of the last vector) for groups of vectors that cover a row's channels: four
// vectors or two as long as they are whole, then one, so that sums of several are under way together.
template <class T, class Body>
GRIDLESS_INLINE void for_groups_of_vectors(int channels, const Body& body) {
  constexpr int kLanes = kVectorLanes<T>;
  int c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) body(VectorCount<4>{}, c, kLanes);
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) body(VectorCount<2>{}, c, kLanes);
  for (; c < channels; c += kLanes) body(VectorCount<1>{}, c, channels - c < kLanes ? channels - c : kLanes);
}

template <class T>
GRIDLESS_INLINE Vector<T> broadcast(T value) {
  return value - Vector<T>{};
}

template <class T>
GRIDLESS_INLINE T sum_of_lanes(Vector<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps(x);
  else return _mm512_reduce_add_pd(x);
#else
  T sum = x[0];
  for (int lane = 1; lane < kVectorLanes<T>; ++lane) sum += x[lane];
  return sum;
#endif
}

// mask ? a : 0, lane by lane, for a mask of zeros and ones in all bits.
template <class T>
GRIDLESS_INLINE Vector<T> where(Integers<T> mask, Vector<T> a) {
  return (Vector<T>)((Integers<T>)a & mask);
}

template <class T>
GRIDLESS_INLINE Vector<T> where(Integers<T> mask, Vector<T> a, Vector<T> b) {
  return mask ? a : b;
}

// The larger of x and 0; NaN stays.
template <class T>
GRIDLESS_INLINE Vector<T> rectified(Vector<T> x) {
  return where<T>(~(x < Vector<T>{}), x);
}

template <class T>
GRIDLESS_INLINE Vector<T> clamp(Vector<T> x, T low, T high) {
  const Vector<T> lowest = broadcast<T>(low), highest = broadcast<T>(high);
  x = lowest > x ? lowest : x;
  return highest < x ? highest : x;
}

template <class T, int N>
GRIDLESS_INLINE Vector<T> polynomial(const T (&coefficients)[N], Vector<T> x) {
  Vector<T> value = broadcast<T>(coefficients[N - 1]);
  for (int power = N - 2; power >= 0; --power) value = value * x + coefficients[power];
  return value;
}

// 1 / x within a rounding or two, for |x| < 2^126; where division is slow, from an estimate and Newton's method.
template <class T>
GRIDLESS_INLINE Vector<T> reciprocal(Vector<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const Vector<T> estimate = _mm512_rcp14_ps(x);
    return estimate + estimate * (static_cast<T>(1) - x * estimate);
  }
#endif
  return static_cast<T>(1) / x;
}

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  static constexpr float lowest = -87.0f, highest = 88.0f, magic = 12582912.0f;  // 1.5 · 2^23 rounds to whole numbers
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int mantissa_bits = 23;
  static constexpr float taylor[8] = {1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
};

template <>
struct Exponential<double> {
  static constexpr double lowest = -708.0, highest = 709.0, magic = 6755399441055744.0;  // 1.5 · 2^52
  static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
  static constexpr int mantissa_bits = 52;
  static constexpr double taylor[14] = {
      1.0,          1.0,           1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,        1.0 / 720,
      1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880., 1.0 / 3628800., 1.0 / 39916800., 1.0 / 479001600., 1.0 / 6227020800.};
};

// e^x by 2^n e^r with |r| <= ln(2) / 2; results beyond the normal range are clamped to it.
template <class T>
GRIDLESS_INLINE Vector<T> exponential(Vector<T> x) {
  using E = Exponential<T>;
  x = clamp<T>(x, E::lowest, E::highest);
  const Vector<T> shifted = x * static_cast<T>(1.4426950408889634) + E::magic;
  const Vector<T> n = shifted - E::magic;
  const Vector<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
  const Integers<T> exponent = (Integers<T>)shifted - (Integers<T>)broadcast<T>(E::magic);
  const Vector<T> value = polynomial<T>(E::taylor, r);
  return (Vector<T>)((Integers<T>)value + (exponent << E::mantissa_bits));
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

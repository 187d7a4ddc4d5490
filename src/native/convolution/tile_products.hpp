// Products of small matrices that lie in the first-level cache: all the arithmetic of the pair loop.
#pragma once

#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

// Sums of six rows take three quarters of the registers; so do those of twelve rows of one vector with AVX2.
#if defined(__AVX512F__)
constexpr int kMostTileVectors = 4;
#else
constexpr int kMostTileVectors = 2;
#endif
template <int VECTORS>
constexpr int kMostTileRows = VECTORS == 1 ? 12 : 6;

// ROWS x VECTORS sums kept in registers: C[r, :] (+)= Σ_k A[r, k] B[k, :]. A_ROW is a_row where it is known to the
// compiler, else 0. RECTIFIED sums are stored as they are or as 0, in whole vectors that are not added to C.
template <class T, int ROWS, int VECTORS, int A_ROW, bool RECTIFIED>
GRIDLESS_INLINE void product_tile(int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b, int64_t b_row, T* c,
                                  int64_t c_row, bool accumulate, int tail) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  if (A_ROW) a_row = A_ROW;
  // Four rows from each pointer: their distances fit into the addresses of instructions.
  constexpr int kPointers = (ROWS + 3) / 4;
  const T* rows[kPointers];
  for (int p = 0; p < kPointers; ++p) rows[p] = a + 4 * p * a_row;
  Vector<T> sums[ROWS][VECTORS] = {};
  for (int k = 0; k < depth; ++k) {
    Vector<T> column[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) column[v] = load<T>(b + v * kLanesPerVector);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) {
      const T scale = rows[r / 4][r % 4 * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += scale * column[v];
    }
    for (int p = 0; p < kPointers; ++p) rows[p] += a_depth;
    b += b_row;
  }
  // Decided once for all rows: a choice inside the loop costs as much as a product of small depth.
  const bool whole = tail == kLanesPerVector;
  if (whole && !accumulate) {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) {
        const Vector<T> sum = sums[r][v];
        store<T>(c + r * c_row + v * kLanesPerVector, RECTIFIED ? rectified<T>(sum) : sum);
      }
    }
    return;
  }
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r) {
    T* to = c + r * c_row;
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS - 1; ++v, to += kLanesPerVector)
      store<T>(to, accumulate ? load<T>(to) + sums[r][v] : sums[r][v]);
    if (whole) {
      store<T>(to, load<T>(to) + sums[r][VECTORS - 1]);
    } else {
      store_some<T>(to, accumulate ? load_some<T>(to, tail) + sums[r][VECTORS - 1] : sums[r][VECTORS - 1], tail);
    }
  }
}

// A function of its own each: inlined side by side, tall tiles take each other's registers for addresses.
template <class T, int ROWS, int VECTORS, int A_ROW, bool RECTIFIED>
__attribute__((noinline)) void product_tile_apart(int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                                                  int64_t b_row, T* c, int64_t c_row, bool accumulate, int tail) {
  product_tile<T, ROWS, VECTORS, A_ROW, RECTIFIED>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail);
}

// The tile of so many rows, at most ROWS. Wide ones are inlined: a call would cost as much as a product of small depth.
template <class T, int ROWS, int VECTORS, int A_ROW, bool RECTIFIED>
GRIDLESS_INLINE void product_rows(int rows, int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                                  int64_t b_row, T* c, int64_t c_row, bool accumulate, int tail) {
  if constexpr (ROWS > 0) {
    if (rows != ROWS) {
      product_rows<T, ROWS - 1, VECTORS, A_ROW, RECTIFIED>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row,
                                                           accumulate, tail);
    } else if constexpr (VECTORS > 2) {
      product_tile<T, ROWS, VECTORS, A_ROW, RECTIFIED>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail);
    } else {
      product_tile_apart<T, ROWS, VECTORS, A_ROW, RECTIFIED>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate,
                                                             tail);
    }
  }
}

template <class T, int VECTORS, int A_ROW, bool RECTIFIED>
inline void product_columns(int rows, int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b, int64_t b_row,
                            T* c, int64_t c_row, bool accumulate, int tail) {
  constexpr int kMost = kMostTileRows<VECTORS>;
  while (rows > 0) {
    // The last two tiles are of about equal height: a last one of one row would leave the multipliers idle.
    const int height = rows <= kMost ? rows : rows >= 2 * kMost ? kMost : (rows + 1) / 2;
    product_rows<T, kMost, VECTORS, A_ROW, RECTIFIED>(height, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate,
                                                      tail);
    rows -= height;
    a += height * a_row;
    c += height * c_row;
  }
}

// C [rows, columns] (+)= A [rows, depth] B [depth, columns]. A may have any strides, B and C have contiguous rows; A_ROW
// is a_row where that is a constant. B is read in whole vectors, past the last column; C is written exactly.
template <class T, int A_ROW = 0, bool RECTIFIED = false>
inline void product(int rows, int columns, int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                    int64_t b_row, T* c, int64_t c_row, bool accumulate) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  if constexpr (kMostTileVectors > 2) {
    for (constexpr int kWide = kMostTileVectors * kLanesPerVector; columns >= kWide; columns -= kWide) {
      product_columns<T, kMostTileVectors, A_ROW, RECTIFIED>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row,
                                                             accumulate, kLanesPerVector);
      b += kWide;
      c += kWide;
    }
  }
  while (columns > kLanesPerVector) {
    const int tail = columns >= 2 * kLanesPerVector ? kLanesPerVector : columns - kLanesPerVector;
    product_columns<T, 2, A_ROW, RECTIFIED>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail);
    columns -= kLanesPerVector + tail;
    b += 2 * kLanesPerVector;
    c += 2 * kLanesPerVector;
  }
  if (columns > 0)
    product_columns<T, 1, A_ROW, RECTIFIED>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, columns);
}

#if defined(__clang__)
#define GRIDLESS_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define GRIDLESS_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (Mask{i, j, k, l}))
#endif

// out [columns, out_row] = in [rows, in_row] transposed; both are read and written in blocks of four.
inline void transpose(int rows, int columns, const float* in, int64_t in_row, float* out, int64_t out_row) {
  typedef float Four __attribute__((vector_size(16)));
  [[maybe_unused]] typedef int32_t Mask __attribute__((vector_size(16)));
  for (int row = 0; row < rows; row += 4) {
    for (int column = 0; column < columns; column += 4) {
      Four a, b, c, d;
      const float* from = in + row * in_row + column;
      __builtin_memcpy(&a, from, 16);
      __builtin_memcpy(&b, from + in_row, 16);
      __builtin_memcpy(&c, from + 2 * in_row, 16);
      __builtin_memcpy(&d, from + 3 * in_row, 16);
      const Four ab_low = GRIDLESS_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = GRIDLESS_SHUFFLE(a, b, 2, 6, 3, 7);
      const Four cd_low = GRIDLESS_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = GRIDLESS_SHUFFLE(c, d, 2, 6, 3, 7);
      const Four rows_out[4] = {
          GRIDLESS_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), GRIDLESS_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
          GRIDLESS_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), GRIDLESS_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
      for (int i = 0; i < 4; ++i) __builtin_memcpy(out + (column + i) * out_row + row, &rows_out[i], 16);
    }
  }
}

inline void transpose(int rows, int columns, const double* in, int64_t in_row, double* out, int64_t out_row) {
  for (int row = 0; row < rows; row += 4) {
    for (int column = 0; column < columns; ++column) {
      for (int i = 0; i < 4; ++i) out[column * out_row + row + i] = in[(row + i) * in_row + column];
    }
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

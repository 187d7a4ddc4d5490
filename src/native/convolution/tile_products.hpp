// Products of small matrices that lie in the first-level cache: all the arithmetic of the pair loop.
#pragma once

#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

// ROWS x VECTORS sums kept in registers: C[r, :] (+)= Σ_k A[r, k] B[k, :].
template <class T, int ROWS, int VECTORS>
GRIDLESS_INLINE void product_tile(int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b, int64_t b_row, T* c,
                                  int64_t c_row, bool accumulate, int tail) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  Vector<T> sums[ROWS][VECTORS] = {};
  for (int k = 0; k < depth; ++k) {
    Vector<T> column[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) column[v] = load<T>(b + v * kLanesPerVector);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const T scale = a[r * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += scale * column[v];
    }
    a += a_depth;
    b += b_row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      T* to = c + r * c_row + v * kLanesPerVector;
      if (v < VECTORS - 1 || tail == kLanesPerVector) {
        store<T>(to, accumulate ? load<T>(to) + sums[r][v] : sums[r][v]);
      } else {
        store_some<T>(to, accumulate ? load_some<T>(to, tail) + sums[r][v] : sums[r][v], tail);
      }
    }
  }
}

template <class T, int VECTORS>
inline void product_columns(int rows, int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b, int64_t b_row,
                            T* c, int64_t c_row, bool accumulate, int tail) {
  // Groups of about equal height: a last group of one row would leave the multipliers idle.
  int groups = (rows + 5) / 6;
  while (rows > 0) {
    const int height = (rows + groups - 1) / groups;
    switch (height) {
      case 1: product_tile<T, 1, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
      case 2: product_tile<T, 2, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
      case 3: product_tile<T, 3, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
      case 4: product_tile<T, 4, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
      case 5: product_tile<T, 5, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
      default: product_tile<T, 6, VECTORS>(depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail); break;
    }
    rows -= height;
    --groups;
    a += height * a_row;
    c += height * c_row;
  }
}

// C [rows, columns] (+)= A [rows, depth] B [depth, columns]. A may have any strides, B and C have contiguous rows.
// B is read in whole vectors, past the last column; C is written exactly.
template <class T>
inline void product(int rows, int columns, int depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                    int64_t b_row, T* c, int64_t c_row, bool accumulate) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  while (columns > kLanesPerVector) {
    const int tail = columns >= 2 * kLanesPerVector ? kLanesPerVector : columns - kLanesPerVector;
    product_columns<T, 2>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, tail);
    columns -= kLanesPerVector + tail;
    b += 2 * kLanesPerVector;
    c += 2 * kLanesPerVector;
  }
  if (columns > 0) product_columns<T, 1>(rows, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate, columns);
}

template <class T, int ROWS, int COLUMNS>
GRIDLESS_INLINE void lane_products_tile(int lanes, const T* a, const T* b, int64_t row, T* sums, int64_t sums_row) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  Vector<T> tile[ROWS][COLUMNS] = {};
  for (int lane = 0; lane < lanes; lane += kLanesPerVector) {
    Vector<T> right[COLUMNS];
#pragma GCC unroll 4
    for (int column = 0; column < COLUMNS; ++column) right[column] = load<T>(b + column * row + lane);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) {
      const Vector<T> left = load<T>(a + r * row + lane);
#pragma GCC unroll 4
      for (int column = 0; column < COLUMNS; ++column) tile[r][column] += left * right[column];
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    for (int column = 0; column < COLUMNS; ++column) {
      T* to = sums + r * sums_row + column * kLanesPerVector;
      store<T>(to, load<T>(to) + tile[r][column]);
    }
  }
}

template <class T, int COLUMNS>
inline void lane_products_columns(int rows, int lanes, const T* a, const T* b, int64_t row, T* sums, int64_t sums_row) {
  for (; rows >= 4; rows -= 4, a += 4 * row, sums += 4 * sums_row)
    lane_products_tile<T, 4, COLUMNS>(lanes, a, b, row, sums, sums_row);
  for (; rows > 0; --rows, a += row, sums += sums_row)
    lane_products_tile<T, 1, COLUMNS>(lanes, a, b, row, sums, sums_row);
}

// sums[r, c] += Σ A[r, lane] B[c, lane], left as one vector of partial sums for each r, c: they are added up once, at
// the very end. A and B have rows of `row` numbers.
template <class T>
inline void lane_products(int rows, int columns, int lanes, const T* a, const T* b, int64_t row, T* sums) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  const int64_t sums_row = static_cast<int64_t>(columns) * kLanesPerVector;
  for (; columns >= 3; columns -= 3, b += 3 * row, sums += 3 * kLanesPerVector)
    lane_products_columns<T, 3>(rows, lanes, a, b, row, sums, sums_row);
  if (columns == 2) lane_products_columns<T, 2>(rows, lanes, a, b, row, sums, sums_row);
  if (columns == 1) lane_products_columns<T, 1>(rows, lanes, a, b, row, sums, sums_row);
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

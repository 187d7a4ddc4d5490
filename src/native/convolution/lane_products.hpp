// Products of matrices whose depth runs along the rows of both, with one sum for each lane: nothing is transposed, and
// lanes are added up once, after the last of many such products.
#pragma once

#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

// Sums that are kept in registers: with a row of B and a vector of A they take nearly all of them.
#if defined(__AVX512F__)
constexpr int kLaneRows = 4, kLaneColumns = 6;
#else
constexpr int kLaneRows = 2, kLaneColumns = 4;
#endif

// sums [ROWS, sums_row vectors] += Σ over vectors of A[r, :] B[c, :], lane by lane, for ROWS x COLUMNS of them.
template <class T, int ROWS, int COLUMNS>
inline void add_lane_tile(int depth, const T* a, int64_t a_row, const T* b, int64_t b_row, T* sums, int64_t sums_row) {
  constexpr int kLanes = kVectorLanes<T>;
  Vector<T> tile[ROWS][COLUMNS];
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 6
    for (int c = 0; c < COLUMNS; ++c) tile[r][c] = load<T>(sums + r * sums_row + c * kLanes);
  }
  for (int place = 0; place < depth; place += kLanes) {
    Vector<T> column[COLUMNS];
#pragma GCC unroll 6
    for (int c = 0; c < COLUMNS; ++c) column[c] = load<T>(b + c * b_row + place);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) {
      const Vector<T> value = load<T>(a + r * a_row + place);
#pragma GCC unroll 6
      for (int c = 0; c < COLUMNS; ++c) tile[r][c] += value * column[c];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 6
    for (int c = 0; c < COLUMNS; ++c) store<T>(sums + r * sums_row + c * kLanes, tile[r][c]);
  }
}

// So many of a tile's columns, at most COLUMNS.
template <class T, int ROWS, int COLUMNS>
GRIDLESS_INLINE void add_lane_columns(int columns, int depth, const T* a, int64_t a_row, const T* b, int64_t b_row,
                                      T* sums, int64_t sums_row) {
  if constexpr (COLUMNS > 0) {
    if (columns == COLUMNS) add_lane_tile<T, ROWS, COLUMNS>(depth, a, a_row, b, b_row, sums, sums_row);
    else add_lane_columns<T, ROWS, COLUMNS - 1>(columns, depth, a, a_row, b, b_row, sums, sums_row);
  }
}

// sums [rows, columns, lanes] += A [rows, depth] Bᵀ for B [columns, depth]; depth is a multiple of a vector's lanes.
template <class T>
inline void add_lane_products(int rows, int columns, int depth, const T* a, int64_t a_row, const T* b, int64_t b_row,
                              T* sums) {
  constexpr int kLanes = kVectorLanes<T>;
  const int64_t sums_row = int64_t{columns} * kLanes;
  for (int c = 0; c < columns; c += kLaneColumns) {
    const int width = columns - c < kLaneColumns ? columns - c : kLaneColumns;
    int r = 0;
    for (; r + kLaneRows <= rows; r += kLaneRows)
      add_lane_columns<T, kLaneRows, kLaneColumns>(width, depth, a + r * a_row, a_row, b + c * b_row, b_row,
                                                   sums + r * sums_row + c * kLanes, sums_row);
    for (; r < rows; ++r)
      add_lane_columns<T, 1, kLaneColumns>(width, depth, a + r * a_row, a_row, b + c * b_row, b_row,
                                           sums + r * sums_row + c * kLanes, sums_row);
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

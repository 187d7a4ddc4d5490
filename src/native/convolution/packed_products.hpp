// Products of a few rows with a large matrix that lies in panels: [columns / panel width][depth][panel width], so that the
// innermost loop reads it from one end to the other. A panel is as wide as the widest tile of sums.
#pragma once

#include "convolution/pair_problem.hpp"
#include "convolution/tile_products.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

template <class T>
constexpr int kPanelWidth = kMostTileVectors * kVectorLanes<T>;

// Depth that is gone through at once: so much of a panel, 16 kB, stays in the first-level cache for all rows.
constexpr int kPanelDepth = 16384 / (kMostTileVectors * GRIDLESS_VECTOR_BYTES);

// C [rows, columns] = A [rows, depth] B, all with contiguous rows but B, which lies in panels.
template <class T>
inline void packed_product(int rows, int64_t columns, int64_t depth, const T* a, const T* b, T* c) {
  for (int64_t begin = 0; begin < depth; begin += kPanelDepth) {
    const int step = static_cast<int>(depth - begin < kPanelDepth ? depth - begin : kPanelDepth);
    for (int64_t column = 0; column < columns; column += kPanelWidth<T>) {
      const int width = static_cast<int>(columns - column < kPanelWidth<T> ? columns - column : kPanelWidth<T>);
      product<T>(rows, width, step, a + begin, depth, 1, b + column * depth + begin * kPanelWidth<T>, kPanelWidth<T>,
                 c + column, columns, begin > 0);
    }
  }
}

constexpr int kRowsAhead = 8;  // of B, which are on their way while one is copied

// gradient += Aᵀ B for A [rows, a_row] and B [rows, b_row], as panels of B's columns: [b_row / panel width][a_row]
// [panel width]. B is read in whole panels, past its last column. scratch holds kGradientScratch numbers.
template <class T>
void add_transposed_product(const T* a, int a_row, const T* b, int64_t b_row, int64_t num_rows,
                                   int64_t first_panel, int64_t last_panel, T* gradient, T* scratch) {
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    const T* columns = b + panel * kPanelWidth<T>;
    T* sums = gradient + panel * a_row * kPanelWidth<T>;
    for (int64_t begin = 0; begin < num_rows; begin += kGradientRows) {
      const int rows = static_cast<int>(num_rows - begin < kGradientRows ? num_rows - begin : kGradientRows);
      // Rows of B lie pages apart; side by side they are read fast, once for every group of A's columns.
      for (int row = 0; row < rows; ++row) {
        const T* from = columns + (begin + row) * b_row;
        T* to = scratch + row * kPanelWidth<T>;
        for (int c = 0; c < kPanelWidth<T>; c += kVectorLanes<T>) prefetch(from + kRowsAhead * b_row + c);
        for (int c = 0; c < kPanelWidth<T>; c += kVectorLanes<T>) store<T>(to + c, load<T>(from + c));
      }
      product<T, 1>(a_row, kPanelWidth<T>, rows, a + begin * a_row, 1, a_row, scratch, kPanelWidth<T>, sums,
                    kPanelWidth<T>, true);
    }
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

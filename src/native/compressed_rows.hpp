// Compressed rows, checked and put in another order.
#pragma once

#include <cstdint>

namespace gridless {

// Raises std::out_of_range unless offsets [num_rows + 1] ascend from 0 to num_pairs.
void require_ascending(const int64_t* offsets, int64_t num_rows, int64_t num_pairs);

// Raises std::out_of_range unless it was found that all indices lie in [0, limit).
void require_inside(bool inside, int64_t limit);

// Pairs sorted by their column, the pairs of one column in their given order: order [num_pairs] and offsets
// [num_columns + 1]. Columns must lie in [0, num_columns); returns false where one does not.
bool transpose_rows(const int64_t* columns, int64_t num_pairs, int64_t num_columns, int64_t* order, int64_t* offsets);

// Rows in the order in which a space-filling (Morton) curve passes their positions [num_rows, dim]: order [num_rows].
template <class T>
void order_along_curve(const T* positions, int64_t num_rows, int dim, int64_t* order);

// New row r is old row order[r]: offsets [num_rows + 1] and columns [num_pairs] of the new rows.
void reorder_rows(const int64_t* offsets, const int64_t* columns, int64_t num_rows, const int64_t* order,
                  int64_t* new_offsets, int64_t* new_columns, int num_threads);

}  // namespace gridless

#include "compressed_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.hpp"

namespace gridless {
namespace {

constexpr int kCodeBits = 30;
constexpr int kDigitBits = 10;
constexpr int64_t kRowsTogether = 4096;

// Stable, least significant digit first.
void sort_by_code(std::vector<uint32_t>& codes, int64_t* order) {
  const std::size_t count = codes.size();
  std::vector<uint32_t> other_codes(count);
  std::vector<int64_t> other_order(count);
  int64_t* from_order = order;
  int64_t* to_order = other_order.data();
  for (int shift = 0; shift < kCodeBits; shift += kDigitBits) {
    std::vector<std::size_t> starts((std::size_t{1} << kDigitBits) + 1);
    const uint32_t mask = (1u << kDigitBits) - 1;
    for (uint32_t code : codes) ++starts[((code >> shift) & mask) + 1];
    for (std::size_t digit = 1; digit < starts.size(); ++digit) starts[digit] += starts[digit - 1];
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t place = starts[(codes[i] >> shift) & mask]++;
      other_codes[place] = codes[i];
      to_order[place] = from_order[i];
    }
    codes.swap(other_codes);
    std::swap(from_order, to_order);
  }
  if (from_order != order) std::copy(from_order, from_order + count, order);
}

}  // namespace

void require_ascending(const int64_t* offsets, int64_t num_rows, int64_t num_pairs) {
  bool ascending = num_rows >= 0 && offsets[0] == 0 && offsets[num_rows] == num_pairs;
  for (int64_t row = 0; row < num_rows && ascending; ++row) ascending = offsets[row] <= offsets[row + 1];
  if (!ascending)
    throw std::out_of_range("offsets must ascend from 0 to the number of pairs, " + std::to_string(num_pairs));
}

void require_inside(bool inside, int64_t limit) {
  if (!inside) throw std::out_of_range("indices must lie in [0, " + std::to_string(limit) + ")");
}

bool transpose_rows(const int64_t* columns, int64_t num_pairs, int64_t num_columns, int64_t* order, int64_t* offsets) {
  std::fill(offsets, offsets + num_columns + 1, 0);
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    if (static_cast<uint64_t>(columns[pair]) >= static_cast<uint64_t>(num_columns)) return false;
    ++offsets[columns[pair] + 1];
  }
  for (int64_t column = 0; column < num_columns; ++column) offsets[column + 1] += offsets[column];
  // offsets[c] runs through the places of column c and ends where c + 1 begins, which is put right afterwards.
  for (int64_t pair = 0; pair < num_pairs; ++pair) order[offsets[columns[pair]]++] = pair;
  std::copy_backward(offsets, offsets + num_columns, offsets + num_columns + 1);
  offsets[0] = 0;
  return true;
}

template <class T>
void order_along_curve(const T* positions, int64_t num_rows, int dim, int64_t* order) {
  // More than a few bits of more than a few axes would not change which rows are close.
  const int axes = std::min(dim, kCodeBits / 5), bits = kCodeBits / std::max(axes, 1);
  std::vector<uint32_t> codes(static_cast<std::size_t>(num_rows));
  const double cells = std::ldexp(1.0, bits);
  for (int axis = 0; axis < axes; ++axis) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (int64_t row = 0; row < num_rows; ++row) {
      const double value = static_cast<double>(positions[row * dim + axis]);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const double scale = high > low ? cells / (high - low) : 0.0;
    for (int64_t row = 0; row < num_rows; ++row) {
      const double place = (static_cast<double>(positions[row * dim + axis]) - low) * scale;
      // The comparison is false for NaN, which then goes to cell 0.
      const auto cell = place > 0.0 ? static_cast<uint32_t>(std::min(place, cells - 1.0)) : 0u;
      uint32_t spread = 0;
      for (int bit = 0; bit < bits; ++bit) spread |= ((cell >> bit) & 1u) << (bit * axes + axis);
      codes[static_cast<std::size_t>(row)] |= spread;
    }
  }
  for (int64_t row = 0; row < num_rows; ++row) order[row] = row;
  sort_by_code(codes, order);
}

template void order_along_curve<float>(const float*, int64_t, int, int64_t*);
template void order_along_curve<double>(const double*, int64_t, int, int64_t*);

void reorder_rows(const int64_t* offsets, const int64_t* columns, int64_t num_rows, const int64_t* order,
                  int64_t* new_offsets, int64_t* new_columns, int num_threads) {
  new_offsets[0] = 0;
  for (int64_t row = 0; row < num_rows; ++row)
    new_offsets[row + 1] = new_offsets[row] + offsets[order[row] + 1] - offsets[order[row]];
  parallel_for(num_threads, (num_rows + kRowsTogether - 1) / kRowsTogether, [&](int64_t task, int) {
    const int64_t end = std::min(num_rows, (task + 1) * kRowsTogether);
    for (int64_t row = task * kRowsTogether; row < end; ++row)
      std::copy(columns + offsets[order[row]], columns + offsets[order[row] + 1], new_columns + new_offsets[row]);
  });
}

}  // namespace gridless

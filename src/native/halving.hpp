// What balanced k-d trees are built from: ranges of points that are halved along their widest axis.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace gridless {

// 2^num_levels leaves under num_points points. Leaf l holds the points from l * num_points / 2^num_levels on, so no leaf
// differs by more than one point from another.
struct BalancedLeaves {
  int64_t num_points, num_levels = 0;

  BalancedLeaves(int64_t points, int64_t most_in_a_leaf) : num_points(points) {
    while ((num_points - 1) >> num_levels >= most_in_a_leaf) ++num_levels;
  }
  int64_t count() const { return int64_t{1} << num_levels; }
  int64_t begin(int64_t leaf) const { return (leaf * num_points) >> num_levels; }
};

template <class T>
struct Entry {
  T key;
  int64_t index;
};

// Lowest and highest coordinate on each axis; positions are [N, D].
template <class T>
inline void find_box(const Entry<T>* begin, const Entry<T>* end, const T* positions, int dim, T* low, T* high) {
  std::fill(low, low + dim, std::numeric_limits<T>::infinity());
  std::fill(high, high + dim, -std::numeric_limits<T>::infinity());
  for (const Entry<T>* entry = begin; entry != end; ++entry) {
    const T* point = positions + entry->index * dim;
    for (int axis = 0; axis < dim; ++axis) {
      low[axis] = std::min(low[axis], point[axis]);
      high[axis] = std::max(high[axis], point[axis]);
    }
  }
}

// Puts the points of the left half, up to middle, before those of the right one, along the widest axis of their box.
template <class T>
inline void halve(Entry<T>* begin, Entry<T>* middle, Entry<T>* end, const T* positions, int dim, const T* low,
                  const T* high) {
  int widest = 0;
  for (int axis = 1; axis < dim; ++axis)
    if (high[axis] - low[axis] > high[widest] - low[widest]) widest = axis;
  for (Entry<T>* entry = begin; entry != end; ++entry) entry->key = positions[entry->index * dim + widest];
  // Copies are split by index: a search that has the first of them prunes the others.
  std::nth_element(begin, middle, end, [](const Entry<T>& one, const Entry<T>& other) {
    return one.key < other.key || (one.key == other.key && one.index < other.index);
  });
}

template <class T>
inline void sort_by_index(Entry<T>* begin, Entry<T>* end) {
  std::sort(begin, end, [](const Entry<T>& one, const Entry<T>& other) { return one.index < other.index; });
}

}  // namespace gridless

#include "subsample/farthest.hpp"

#include <algorithm>
#include <limits>

#include "halving.hpp"
#include "parallel.hpp"

namespace gridless {
namespace {

constexpr int kLeafPoints = 32;
constexpr int kLanes = 8;

size_t at(int64_t place) { return static_cast<size_t>(place); }

// The points of one cloud in a k-d tree whose nodes know the farthest of their points, so that a newly chosen point is
// compared only with leaves in which it may be nearer to some point than those chosen before.
//
// Node 1 is the root, node n has the children 2n and 2n + 1, and leaf l is node num_leaves + l.
template <class T>
class FarthestPoints {
 public:
  // Rows are [N, D], N > 0.
  FarthestPoints(const std::vector<T>& rows, int dim)
      : dim_(dim), leaves_(static_cast<int64_t>(rows.size()) / dim, kLeafPoints), num_leaves_(leaves_.count()),
        boxes_(at(num_leaves_ * 2 * 2 * dim)), farthest_(at(num_leaves_ * 2)), points_(at(num_leaves_ * kLeafPoints * dim)),
        nearest_(at(num_leaves_ * kLeafPoints), T{-1}), indices_(at(num_leaves_ * kLeafPoints)),
        slots_(at(leaves_.num_points)), chosen_(at(dim)) {
    std::vector<Entry<T>> entries(at(leaves_.num_points));
    for (int64_t index = 0; index < leaves_.num_points; ++index) entries[at(index)].index = index;
    build(1, leaves_.num_levels, rows.data(), entries.data());
  }

  // Marks a point as chosen; returns the next one.
  int64_t choose(int64_t index) {
    const int64_t slot = slots_[at(index)], leaf = slot / kLeafPoints, place = slot % kLeafPoints;
    for (int axis = 0; axis < dim_; ++axis)
      chosen_[at(axis)] = points_[at((leaf * dim_ + axis) * kLeafPoints + place)];
    chosen_node_ = num_leaves_ + leaf;
    nearest_[at(slot)] = -1;  // its copies have distance 0 and may still be chosen; the point itself may not
    update(1, leaves_.num_levels);
    return farthest_[1].index;
  }

 private:
  struct Farthest {
    T nearest;  // squared distance to the nearest chosen point; -1 for chosen points and where there is none
    int64_t index;
  };

  void build(int64_t node, int64_t levels_below, const T* rows, Entry<T>* entries) {
    const int64_t first_leaf = (node << levels_below) - num_leaves_, num_below = int64_t{1} << levels_below;
    Entry<T>* const begin = entries + leaves_.begin(first_leaf);
    Entry<T>* const end = entries + leaves_.begin(first_leaf + num_below);
    T* const low = boxes_.data() + node * 2 * dim_;
    T* const high = low + dim_;
    find_box(begin, end, rows, dim_, low, high);
    if (levels_below == 0) {
      fill_leaf(first_leaf, begin, end, rows);
      return;
    }
    halve(begin, entries + leaves_.begin(first_leaf + num_below / 2), end, rows, dim_, low, high);
    build(2 * node, levels_below - 1, rows, entries);
    build(2 * node + 1, levels_below - 1, rows, entries);
    take_farther(node);
  }

  void fill_leaf(int64_t leaf, Entry<T>* begin, Entry<T>* end, const T* rows) {
    sort_by_index(begin, end);
    for (int64_t place = 0; place < end - begin; ++place) {
      const int64_t index = begin[place].index, slot = leaf * kLeafPoints + place;
      for (int axis = 0; axis < dim_; ++axis)
        points_[at((leaf * dim_ + axis) * kLeafPoints + place)] = rows[index * dim_ + axis];
      nearest_[at(slot)] = std::numeric_limits<T>::infinity();
      indices_[at(slot)] = index;
      slots_[at(index)] = slot;
    }
    farthest_[at(num_leaves_ + leaf)] = {std::numeric_limits<T>::infinity(), begin->index};
  }

  void update(int64_t node, int64_t levels_below) {
    const bool holds_chosen = chosen_node_ >> levels_below == node;
    if (!holds_chosen && distance_from_box(node) >= farthest_[at(node)].nearest) return;
    if (levels_below == 0) {
      update_leaf(node - num_leaves_);
      return;
    }
    update(2 * node, levels_below - 1);
    update(2 * node + 1, levels_below - 1);
    take_farther(node);
  }

  // Of the children's farthest points.
  void take_farther(int64_t node) {
    const Farthest &left = farthest_[at(2 * node)], &right = farthest_[at(2 * node + 1)];
    const bool right_first =
        right.nearest > left.nearest || (right.nearest == left.nearest && right.index < left.index);
    farthest_[at(node)] = right_first ? right : left;
  }

  // Squared, and added as the distances of points are, so that rounding never puts a box behind a point in it.
  T distance_from_box(int64_t node) const {
    const T* const low = boxes_.data() + node * 2 * dim_;
    const T* const high = low + dim_;
    T squared = 0;
    for (int axis = 0; axis < dim_; ++axis) {
      const T below = low[axis] - chosen_[at(axis)], above = chosen_[at(axis)] - high[axis];
      T outside = below > above ? below : above;
      outside = outside > 0 ? outside : 0;
      squared += outside * outside;
    }
    return squared;
  }

  void update_leaf(int64_t leaf) {
    T squared[kLeafPoints] = {};
    for (int axis = 0; axis < dim_; ++axis) {
      const T* const points = points_.data() + (leaf * dim_ + axis) * kLeafPoints;
      const T chosen = chosen_[at(axis)];
      for (int place = 0; place < kLeafPoints; ++place) {
        const T difference = chosen - points[place];
        squared[place] += difference * difference;
      }
    }
    T* const nearest = nearest_.data() + leaf * kLeafPoints;
    // A comparison that is false keeps what was there, so that distances beyond all numbers do no harm.
    for (int place = 0; place < kLeafPoints; ++place)
      nearest[place] = squared[place] < nearest[place] ? squared[place] : nearest[place];
    T largest[kLanes];
    std::copy(nearest, nearest + kLanes, largest);
    for (int place = kLanes; place < kLeafPoints; place += kLanes)
      for (int lane = 0; lane < kLanes; ++lane)
        largest[lane] = nearest[place + lane] > largest[lane] ? nearest[place + lane] : largest[lane];
    const T most = *std::max_element(largest, largest + kLanes);
    const int64_t place = std::find(nearest, nearest + kLeafPoints, most) - nearest;  // the lowest index
    farthest_[at(num_leaves_ + leaf)] = {most, indices_[at(leaf * kLeafPoints + place)]};
  }

  int dim_;
  BalancedLeaves leaves_;
  int64_t num_leaves_;
  std::vector<T> boxes_;            // [node, low and high, D]
  std::vector<Farthest> farthest_;  // of each node
  std::vector<T> points_;           // [leaf, D, kLeafPoints]
  std::vector<T> nearest_;          // [leaf, kLeafPoints]
  std::vector<int64_t> indices_;    // [leaf, kLeafPoints], ascending in each leaf
  std::vector<int64_t> slots_;      // [N], where in the leaves a point is
  std::vector<T> chosen_;           // [D], the point chosen last
  int64_t chosen_node_ = 0;         // its leaf
};

template <class T>
void sample(const T* positions, int dim, const int64_t* order, const std::vector<int64_t>& begins,
            const std::vector<int64_t>& chosen_begins, int64_t start, int64_t* chosen, int num_threads) {
  parallel_for(num_threads, static_cast<int64_t>(begins.size()) - 1, [&](int64_t cloud, int) {
    const int64_t begin = begins[at(cloud)], num_points = begins[at(cloud + 1)] - begin;
    int64_t* const first = chosen + chosen_begins[at(cloud)];
    int64_t* const last = chosen + chosen_begins[at(cloud + 1)];
    if (first == last) return;
    const auto point = [&](int64_t index) { return order ? order[begin + index] : begin + index; };
    const T* const origin = positions + point(0) * dim;
    std::vector<T> rows(at(num_points * dim));
    for (int64_t index = 0; index < num_points; ++index)
      for (int axis = 0; axis < dim; ++axis)
        rows[at(index * dim + axis)] = positions[point(index) * dim + axis] - origin[axis];
    FarthestPoints<T> points(rows, dim);
    int64_t current = std::min(start, num_points - 1);
    *first = point(current);
    for (int64_t* next = first + 1; next != last; ++next) *next = point(current = points.choose(current));
  });
}

}  // namespace

void farthest_points(const PointArray& positions, int dim, const int64_t* order, const std::vector<int64_t>& begins,
                     const std::vector<int64_t>& chosen_begins, int64_t start, int64_t* chosen, int num_threads) {
  if (positions.wide)
    sample(static_cast<const double*>(positions.data), dim, order, begins, chosen_begins, start, chosen, num_threads);
  else
    sample(static_cast<const float*>(positions.data), dim, order, begins, chosen_begins, start, chosen, num_threads);
}

}  // namespace gridless

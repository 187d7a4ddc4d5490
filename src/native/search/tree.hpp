// Balanced k-d trees over the sources of one or several clouds.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "instruction_sets.hpp"
#include "point_array.hpp"

namespace gridless {

// The queries and, where there are several clouds, the cloud of each: its place among the tree's, or -1 for none.
struct Queries {
  PointArray positions;
  const int64_t* clouds;
};

// Rows of unequal length, found block by block, until it is known where each goes.
class FoundRows {
 public:
  static constexpr int64_t kQueriesPerBlock = 128;

  std::vector<int64_t> order;
  std::vector<int64_t> counts;
  std::vector<std::vector<int64_t>> blocks;

  // Row i to indices[offsets[i]:offsets[i + 1]].
  void write(const int64_t* offsets, int64_t* indices, int num_threads) const;
};

// Rows are sorted by (squared distance, index). Squared distances are sums over the axes, first to last, in double;
// bounds of boxes are added alike, so that rounding never puts a box behind a point in it.
class SearchTree {
 public:
  virtual ~SearchTree() = default;

  // The k nearest of query i to indices[i * k:], their number, which is k or the points of its cloud, to counts[i].
  virtual void knn(const Queries& queries, int64_t k, int64_t* indices, int64_t* counts, int num_threads) const = 0;

  // At most max_neighbors (0: all) with a squared distance of at most radius².
  virtual FoundRows within_radius(const Queries& queries, double radius, int64_t max_neighbors,
                                  int num_threads) const = 0;
};

// Cloud c has the points order[begins[c]:begins[c + 1]]; null `order` is 0, 1, 2, …
std::unique_ptr<SearchTree> make_search_tree(const PointArray& positions, int dim, const int64_t* order,
                                             const std::vector<int64_t>& begins, int num_threads,
                                             InstructionSet instruction_set);

}  // namespace gridless

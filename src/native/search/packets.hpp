// What the tree and its kernels, which are compiled once for each instruction set, share. Plain numbers only.
#pragma once

#include <cstdint>

#include "kernel_tables.hpp"

namespace gridless {

constexpr int kLeafPoints = 16;
constexpr int kPacketQueries = 16;  // at most
constexpr int kMostLevels = 48;

// Nodes of one cloud. Node 0 is the root, node n has the children 2n + 1 and 2n + 2, and those from num_inner on are
// leaves.
struct CloudNodes {
  int64_t num_inner, first_node, first_leaf;
};

// All nodes, T the type in which positions came.
template <class T>
struct TreeNodes {
  int dim;
  const T* boxes;          // per inner node and axis: low ends of both children, then high ends
  const int64_t* least;    // per inner node: lowest index in each child
  const T* points;         // per leaf and axis; NaN, near to nothing, where a leaf holds fewer
  const int64_t* indices;  // per leaf, ascending
};

// Behind what still may enter the row of each query: by squared distance, then index.
struct alignas(64) Limits {
  double squared[kPacketQueries];
  int64_t indices[kPacketQueries];
};

// Queries of one cloud that go through its tree together.
struct Packet {
  const double* positions;  // [D, kPacketQueries]
  Limits limits;            // below every distance where there is no query
  void* rows;               // of all queries
};

// Takes points of a leaf into the row of a query, those whose bit is set, and moves its limit.
using TakePoints = void (*)(Packet& packet, int query, const double* squared, const int64_t* indices,
                            uint32_t entering);

// The nearest of each query, sorted, [kPacketQueries, width]; the k-th is the limit.
struct SortedRows {
  double* squared;
  int64_t* indices;
  int64_t k;
};

constexpr int64_t kShortestSortedRow = 8;  // widths are this, twice this, and so on

template <class T>
struct SearchKernels {
  int packet_queries;  // at most kPacketQueries
  void (*walk)(const TreeNodes<T>& tree, const CloudNodes& cloud, Packet& packet, TakePoints take);
  TakePoints (*take_sorted)(int64_t width);  // into SortedRows; null where rows are better kept otherwise
};

GRIDLESS_DECLARE_KERNELS(SearchKernels, search_kernels)

}  // namespace gridless

#include "search/tree.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "halving.hpp"
#include "parallel.hpp"
#include "search/packets.hpp"
#include "search/rows.hpp"

namespace gridless {

namespace {

constexpr int64_t kFewQueries = 32, kLongestSortedRow = 64;

GRIDLESS_DEFINE_KERNELS_FOR(SearchKernels, search_kernels)

// One cloud.
struct CloudTree : BalancedLeaves {
  int64_t first_point, first_node, first_leaf;

  CloudTree(int64_t point, int64_t points, int64_t node, int64_t leaf)
      : BalancedLeaves(points, kLeafPoints), first_point(point), first_node(node), first_leaf(leaf) {}
  int64_t num_inner() const { return count() - 1; }
  CloudNodes nodes() const { return {num_inner(), first_node, first_leaf}; }
};

struct Node {
  int64_t cloud, depth, place;  // place: which of its depth
};

// T is the type in which positions came.
template <class T>
class Tree final : public SearchTree {
 public:
  Tree(const T* positions, int64_t num_points, int dim, const int64_t* order, const std::vector<int64_t>& begins,
       int num_threads, InstructionSet instruction_set)
      : dim_(dim), num_points_(num_points), positions_(positions), kernels_(kernels_for<T>(instruction_set)) {
    int64_t num_nodes = 0, num_leaves = 0;
    for (size_t cloud = 0; cloud + 1 < begins.size(); ++cloud) {
      const CloudTree tree(begins[cloud], begins[cloud + 1] - begins[cloud], num_nodes, num_leaves);
      clouds_.push_back(tree);
      num_nodes += tree.num_inner();
      num_leaves += tree.count();
    }
    boxes_.resize(static_cast<size_t>(num_nodes * 4 * dim));
    least_.resize(static_cast<size_t>(num_nodes * 2));
    points_.resize(static_cast<size_t>(num_leaves * dim * kLeafPoints), std::numeric_limits<T>::quiet_NaN());
    indices_.resize(static_cast<size_t>(num_leaves * kLeafPoints));
    build(order, num_threads);
  }

  void knn(const Queries& queries, int64_t k, int64_t* indices, int64_t* counts, int num_threads) const override {
    const std::vector<int64_t> order = visiting_order(queries, num_threads);
    const auto write = [&](int64_t, int64_t query, const int64_t* row, int64_t count) {
      counts[query] = count;
      std::copy(row, row + count, indices + query * k);
    };
    nearest(queries, order, k, std::numeric_limits<double>::max(), num_threads, write);
  }

  FoundRows within_radius(const Queries& queries, double radius, int64_t max_neighbors,
                          int num_threads) const override {
    FoundRows found;
    found.order = visiting_order(queries, num_threads);
    found.counts.resize(static_cast<size_t>(queries.positions.count));
    found.blocks.resize(static_cast<size_t>(num_blocks(queries)));
    const auto write = [&](int64_t block, int64_t query, const int64_t* row, int64_t count) {
      found.counts[static_cast<size_t>(query)] = count;
      std::vector<int64_t>& kept = found.blocks[static_cast<size_t>(block)];
      kept.insert(kept.end(), row, row + count);
    };
    const double limit = radius * radius;
    if (max_neighbors > 0) {
      nearest(queries, found.order, std::min(max_neighbors, std::max<int64_t>(num_points_, 1)), limit, num_threads,
              write);
    } else {
      each_row(queries, found.order, limit, num_threads, [] { return KeptRows<OpenRow>(OpenRow()); }, write);
    }
    return found;
  }

 private:
  static int64_t num_blocks(const Queries& queries) {
    return (queries.positions.count + FoundRows::kQueriesPerBlock - 1) / FoundRows::kQueriesPerBlock;
  }

  void build(const int64_t* order, int num_threads) {
    std::vector<Entry<T>> entries(static_cast<size_t>(num_points_));
    for (int64_t place = 0; place < num_points_; ++place)
      entries[static_cast<size_t>(place)].index = order ? order[place] : place;
    std::vector<Node> nodes;
    for (int64_t cloud = 0; cloud < static_cast<int64_t>(clouds_.size()); ++cloud)
      if (clouds_[static_cast<size_t>(cloud)].num_points > 0) nodes.push_back({cloud, 0, 0});
    // Level by level until there are enough subtrees to keep all threads busy.
    while (!nodes.empty() && static_cast<int64_t>(nodes.size()) < 4 * num_threads) {
      parallel_for(num_threads, static_cast<int64_t>(nodes.size()),
                   [&](int64_t task, int) { split(nodes[static_cast<size_t>(task)], entries.data()); });
      std::vector<Node> children;
      for (const Node& node : nodes) {
        if (node.depth == clouds_[static_cast<size_t>(node.cloud)].num_levels) continue;
        children.push_back({node.cloud, node.depth + 1, 2 * node.place});
        children.push_back({node.cloud, node.depth + 1, 2 * node.place + 1});
      }
      nodes.swap(children);
    }
    parallel_for(num_threads, static_cast<int64_t>(nodes.size()),
                 [&](int64_t task, int) { build_below(nodes[static_cast<size_t>(task)], entries.data()); });
  }

  void build_below(const Node& node, Entry<T>* entries) {
    split(node, entries);
    if (node.depth == clouds_[static_cast<size_t>(node.cloud)].num_levels) return;
    build_below({node.cloud, node.depth + 1, 2 * node.place}, entries);
    build_below({node.cloud, node.depth + 1, 2 * node.place + 1}, entries);
  }

  // Puts the points of a node's left child before those of its right one, and the node's box into its parent.
  void split(const Node& node, Entry<T>* entries) {
    const CloudTree& tree = clouds_[static_cast<size_t>(node.cloud)];
    const int64_t levels_below = tree.num_levels - node.depth;
    const int64_t first_leaf = node.place << levels_below;
    Entry<T>* const begin = entries + tree.first_point + tree.begin(first_leaf);
    Entry<T>* const end = entries + tree.first_point + tree.begin((node.place + 1) << levels_below);

    std::vector<T> low(static_cast<size_t>(dim_)), high(static_cast<size_t>(dim_));
    find_box(begin, end, positions_, dim_, low.data(), high.data());
    if (node.depth > 0) {
      const int64_t parent = tree.first_node + (int64_t{1} << (node.depth - 1)) - 1 + node.place / 2;
      const int64_t side = node.place % 2;
      T* box = boxes_.data() + parent * 4 * dim_;
      for (int axis = 0; axis < dim_; ++axis) {
        box[4 * axis + side] = low[static_cast<size_t>(axis)];
        box[4 * axis + 2 + side] = high[static_cast<size_t>(axis)];
      }
      int64_t& least = least_[static_cast<size_t>(2 * parent + side)];
      least = begin->index;
      for (const Entry<T>* entry = begin; entry != end; ++entry) least = std::min(least, entry->index);
    }
    if (levels_below == 0) {
      fill_leaf(tree.first_leaf + node.place, begin, end);
      return;
    }
    Entry<T>* const middle = entries + tree.first_point + tree.begin(first_leaf + (int64_t{1} << (levels_below - 1)));
    halve(begin, middle, end, positions_, dim_, low.data(), high.data());
  }

  void fill_leaf(int64_t leaf, Entry<T>* begin, Entry<T>* end) {
    sort_by_index(begin, end);
    T* points = points_.data() + leaf * dim_ * kLeafPoints;
    int64_t* indices = indices_.data() + leaf * kLeafPoints;
    for (const Entry<T>* entry = begin; entry != end; ++entry) {
      const int64_t place = entry - begin;
      indices[place] = entry->index;
      for (int axis = 0; axis < dim_; ++axis)
        points[axis * kLeafPoints + place] = positions_[entry->index * dim_ + axis];
    }
  }

  // Axis a to point[a * stride].
  void read(const PointArray& positions, int64_t index, double* point, int stride = 1) const {
    for (int axis = 0; axis < dim_; ++axis)
      point[axis * stride] = positions.wide ? static_cast<const double*>(positions.data)[index * dim_ + axis]
                                   : static_cast<const float*>(positions.data)[index * dim_ + axis];
  }

  const CloudTree* tree_of(const Queries& queries, int64_t query) const {
    const int64_t cloud = queries.clouds ? queries.clouds[query] : 0;
    if (cloud < 0 || cloud >= static_cast<int64_t>(clouds_.size())) return nullptr;
    const CloudTree& tree = clouds_[static_cast<size_t>(cloud)];
    return tree.num_points > 0 ? &tree : nullptr;
  }

  // Squared distances of a point from the boxes of a node's children.
  void bounds_of_children(int64_t node, const double* point, double* bounds) const {
    const T* box = boxes_.data() + node * 4 * dim_;
    bounds[0] = bounds[1] = 0;
    for (int axis = 0; axis < dim_; ++axis, box += 4) {
      for (int side = 0; side < 2; ++side) {
        const double below = static_cast<double>(box[side]) - point[axis];
        const double above = point[axis] - static_cast<double>(box[2 + side]);
        double outside = below > above ? below : above;
        outside = outside > 0 ? outside : 0;
        bounds[side] += outside * outside;
      }
    }
  }

  // Queries that end in the same leaf follow one another, so that nodes and leaves stay in the cache.
  std::vector<int64_t> visiting_order(const Queries& queries, int num_threads) const {
    const int64_t count = queries.positions.count;
    std::vector<int64_t> order(static_cast<size_t>(count));
    if (count <= kFewQueries) {
      std::iota(order.begin(), order.end(), int64_t{0});
      return order;
    }
    const int64_t num_leaves = static_cast<int64_t>(indices_.size()) / kLeafPoints;
    // Most searches are among the points themselves, whose leaves are known. Should other numbers have come to lie at
    // the same address, they are visited in a worse order, no more.
    if (queries.positions.data == positions_ && count == num_points_) {
      auto place = order.begin();
      for (const CloudTree& tree : clouds_) {
        for (int64_t leaf = 0; leaf <= tree.num_inner(); ++leaf) {
          const int64_t* begin = indices_.data() + (tree.first_leaf + leaf) * kLeafPoints;
          place = std::copy(begin, begin + (tree.begin(leaf + 1) - tree.begin(leaf)), place);
        }
      }
      return order;
    }
    std::vector<int64_t> leaves(static_cast<size_t>(count));
    parallel_for(num_threads, num_blocks(queries), [&](int64_t block, int) {
      std::vector<double> point(static_cast<size_t>(dim_));
      const int64_t begin = block * FoundRows::kQueriesPerBlock;
      for (int64_t query = begin; query < std::min(begin + FoundRows::kQueriesPerBlock, count); ++query) {
        const CloudTree* tree = tree_of(queries, query);
        read(queries.positions, query, point.data());
        leaves[static_cast<size_t>(query)] = tree ? leaf_near(*tree, point.data()) : num_leaves;
      }
    });
    std::vector<int64_t> begins(static_cast<size_t>(num_leaves) + 2);
    for (int64_t leaf : leaves) ++begins[static_cast<size_t>(leaf) + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    for (int64_t query = 0; query < count; ++query)
      order[static_cast<size_t>(begins[static_cast<size_t>(leaves[static_cast<size_t>(query)])]++)] = query;
    return order;
  }

  int64_t leaf_near(const CloudTree& tree, const double* point) const {
    int64_t node = 0;
    while (node < tree.num_inner()) {
      double bounds[2];
      bounds_of_children(tree.first_node + node, point, bounds);
      node = 2 * node + 1 + (bounds[1] < bounds[0]);
    }
    return tree.first_leaf + node - tree.num_inner();
  }

  template <class Write>
  void nearest(const Queries& queries, const std::vector<int64_t>& order, int64_t k, double limit, int num_threads,
               const Write& write) const {
    if (const TakePoints take = kernels_.take_sorted(width_of_sorted_row(k)))
      each_row(queries, order, limit, num_threads, [=] { return NearestRows(k, take); }, write);
    else if (k <= kLongestSortedRow)
      each_row(queries, order, limit, num_threads, [=] { return KeptRows<SortedRow>(SortedRow(k)); }, write);
    else
      each_row(queries, order, limit, num_threads, [=] { return KeptRows<HalvedRow>(HalvedRow(k)); }, write);
  }

  // Packet by packet: queries that follow one another, of one cloud.
  template <class MakeRows, class Write>
  void each_row(const Queries& queries, const std::vector<int64_t>& order, double limit, int num_threads,
                const MakeRows& make_rows, const Write& write) const {
    const TreeNodes<T> nodes{dim_, boxes_.data(), least_.data(), points_.data(), indices_.data()};
    const int64_t num_queries = queries.positions.count;
    parallel_for(num_threads, num_blocks(queries), [&](int64_t block, int) {
      std::vector<double> positions(static_cast<size_t>(dim_ * kPacketQueries));
      auto rows = make_rows();
      Packet packet{positions.data(), {}, rows.data()};
      const int64_t end = std::min((block + 1) * FoundRows::kQueriesPerBlock, num_queries);
      for (int64_t place = block * FoundRows::kQueriesPerBlock; place < end;) {
        const int64_t* const members = order.data() + place;
        const CloudTree* const tree = tree_of(queries, members[0]);
        const int most = static_cast<int>(std::min<int64_t>(kernels_.packet_queries, end - place));
        int count = 0;
        for (; count < most && tree_of(queries, members[count]) == tree; ++count)
          read(queries.positions, members[count], positions.data() + count, kPacketQueries);
        rows.start(count, behind_all(limit), packet.limits);
        if (tree) kernels_.walk(nodes, tree->nodes(), packet, rows.take());
        for (int query = 0; query < count; ++query) rows.pass(query, [&](const int64_t* row, int64_t length) {
          write(block, members[query], row, length);
        });
        place += count;
      }
    });
  }

  int dim_;
  int64_t num_points_;
  const T* positions_;  // read while building only
  const SearchKernels<T>& kernels_;
  std::vector<CloudTree> clouds_;
  std::vector<T> boxes_, points_;  // see TreeNodes
  std::vector<int64_t> least_, indices_;
};

template <class T>
std::unique_ptr<SearchTree> make_tree(const PointArray& positions, int dim, const int64_t* order,
                                      const std::vector<int64_t>& begins, int num_threads,
                                      InstructionSet instruction_set) {
  return std::make_unique<Tree<T>>(static_cast<const T*>(positions.data), positions.count, dim, order, begins,
                                   num_threads, instruction_set);
}

}  // namespace

void FoundRows::write(const int64_t* offsets, int64_t* indices, int num_threads) const {
  parallel_for(num_threads, static_cast<int64_t>(blocks.size()), [&](int64_t block, int) {
    const int64_t* row = blocks[static_cast<size_t>(block)].data();
    const int64_t begin = block * kQueriesPerBlock;
    const int64_t end = std::min<int64_t>(begin + kQueriesPerBlock, static_cast<int64_t>(order.size()));
    for (int64_t place = begin; place < end; ++place) {
      const int64_t query = order[static_cast<size_t>(place)];
      const int64_t count = counts[static_cast<size_t>(query)];
      std::copy(row, row + count, indices + offsets[query]);
      row += count;
    }
  });
}

std::unique_ptr<SearchTree> make_search_tree(const PointArray& positions, int dim, const int64_t* order,
                                             const std::vector<int64_t>& begins, int num_threads,
                                             InstructionSet instruction_set) {
  return positions.wide ? make_tree<double>(positions, dim, order, begins, num_threads, instruction_set)
                        : make_tree<float>(positions, dim, order, begins, num_threads, instruction_set);
}

}  // namespace gridless

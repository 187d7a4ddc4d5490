#include "search/tree.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "halving.hpp"
#include "parallel.hpp"
#include "search/rows.hpp"

namespace gridless {
namespace {

constexpr int kLeafPoints = 16;
constexpr int64_t kLongestSortedRow = 64;
constexpr int kMostLevels = 48;
constexpr int64_t kFewQueries = 32;

// One cloud. Node 0 is the root, node n has the children 2n + 1 and 2n + 2, and those from num_inner on are leaves.
struct CloudTree : BalancedLeaves {
  int64_t first_point, first_node, first_leaf;

  CloudTree(int64_t point, int64_t points, int64_t node, int64_t leaf)
      : BalancedLeaves(points, kLeafPoints), first_point(point), first_node(node), first_leaf(leaf) {}
  int64_t num_inner() const { return count() - 1; }
};

struct Node {
  int64_t cloud, depth, place;  // place: which of its depth
};

// T is the type in which positions came, Dim their dimension, or 0 for one known at run time.
template <class T, int Dim>
class Tree final : public SearchTree {
 public:
  Tree(const T* positions, int64_t num_points, int dim, const int64_t* order, const std::vector<int64_t>& begins,
       int num_threads)
      : run_time_dim_(dim), num_points_(num_points), positions_(positions) {
    int64_t num_nodes = 0, num_leaves = 0;
    for (size_t cloud = 0; cloud + 1 < begins.size(); ++cloud) {
      const CloudTree tree(begins[cloud], begins[cloud + 1] - begins[cloud], num_nodes, num_leaves);
      clouds_.push_back(tree);
      num_nodes += tree.num_inner();
      num_leaves += tree.count();
    }
    boxes_.resize(static_cast<size_t>(num_nodes * 4 * dim));
    least_.resize(static_cast<size_t>(num_nodes * 2));
    points_.resize(static_cast<size_t>(num_leaves * dim * kLeafPoints));
    indices_.resize(static_cast<size_t>(num_leaves * kLeafPoints));
    build(order, num_threads);
  }

  void knn(const Queries& queries, int64_t k, int64_t* indices, int64_t* counts, int num_threads) const override {
    const std::vector<int64_t> order = visiting_order(queries, num_threads);
    const auto write = [&](int64_t, int64_t query, const auto& row) {
      counts[query] = row.count();
      std::transform(row.begin(), row.begin() + row.count(), indices + query * k,
                     [](const Candidate& candidate) { return candidate.index; });
    };
    nearest(queries, order, k, std::numeric_limits<double>::max(), num_threads, write);
  }

  FoundRows within_radius(const Queries& queries, double radius, int64_t max_neighbors,
                          int num_threads) const override {
    FoundRows found;
    found.order = visiting_order(queries, num_threads);
    found.counts.resize(static_cast<size_t>(queries.positions.count));
    found.blocks.resize(static_cast<size_t>(num_blocks(queries)));
    const auto write = [&](int64_t block, int64_t query, const auto& row) {
      found.counts[static_cast<size_t>(query)] = row.count();
      std::vector<int64_t>& kept = found.blocks[static_cast<size_t>(block)];
      for (int64_t place = 0; place < row.count(); ++place) kept.push_back(row.begin()[place].index);
    };
    const double limit = radius * radius;
    if (max_neighbors > 0) {
      nearest(queries, found.order, std::min(max_neighbors, std::max<int64_t>(num_points_, 1)), limit, num_threads,
              write);
    } else {
      each_row(queries, found.order, limit, num_threads, [] { return OpenRow(); }, write);
    }
    return found;
  }

 private:
  int dim() const { return Dim > 0 ? Dim : run_time_dim_; }

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

    std::vector<T> low(static_cast<size_t>(dim())), high(static_cast<size_t>(dim()));
    find_box(begin, end, positions_, dim(), low.data(), high.data());
    if (node.depth > 0) {
      const int64_t parent = tree.first_node + (int64_t{1} << (node.depth - 1)) - 1 + node.place / 2;
      const int64_t side = node.place % 2;
      T* box = boxes_.data() + parent * 4 * dim();
      for (int axis = 0; axis < dim(); ++axis) {
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
    halve(begin, middle, end, positions_, dim(), low.data(), high.data());
  }

  void fill_leaf(int64_t leaf, Entry<T>* begin, Entry<T>* end) {
    sort_by_index(begin, end);
    T* points = points_.data() + leaf * dim() * kLeafPoints;
    int64_t* indices = indices_.data() + leaf * kLeafPoints;
    for (const Entry<T>* entry = begin; entry != end; ++entry) {
      const int64_t place = entry - begin;
      indices[place] = entry->index;
      for (int axis = 0; axis < dim(); ++axis)
        points[axis * kLeafPoints + place] = positions_[entry->index * dim() + axis];
    }
  }

  void read(const PointArray& positions, int64_t index, double* point) const {
    for (int axis = 0; axis < dim(); ++axis)
      point[axis] = positions.wide ? static_cast<const double*>(positions.data)[index * dim() + axis]
                                   : static_cast<const float*>(positions.data)[index * dim() + axis];
  }

  const CloudTree* tree_of(const Queries& queries, int64_t query) const {
    const int64_t cloud = queries.clouds ? queries.clouds[query] : 0;
    if (cloud < 0 || cloud >= static_cast<int64_t>(clouds_.size())) return nullptr;
    const CloudTree& tree = clouds_[static_cast<size_t>(cloud)];
    return tree.num_points > 0 ? &tree : nullptr;
  }

  // Squared distances of a point from the boxes of a node's children.
  void bounds_of_children(int64_t node, const double* point, double* bounds) const {
    const T* box = boxes_.data() + node * 4 * dim();
    bounds[0] = bounds[1] = 0;
    for (int axis = 0; axis < dim(); ++axis, box += 4) {
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
      std::vector<double> point(static_cast<size_t>(dim()));
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
    if (k <= kLongestSortedRow)
      each_row(queries, order, limit, num_threads, [k] { return SortedRow(k); }, write);
    else
      each_row(queries, order, limit, num_threads, [k] { return HalvedRow(k); }, write);
  }

  template <class MakeRow, class Write>
  void each_row(const Queries& queries, const std::vector<int64_t>& order, double limit, int num_threads,
                const MakeRow& make_row, const Write& write) const {
    const int64_t count = queries.positions.count;
    parallel_for(num_threads, num_blocks(queries), [&](int64_t block, int) {
      std::vector<double> point(static_cast<size_t>(dim()));
      auto row = make_row();
      const int64_t begin = block * FoundRows::kQueriesPerBlock;
      for (int64_t place = begin; place < std::min(begin + FoundRows::kQueriesPerBlock, count); ++place) {
        const int64_t query = order[static_cast<size_t>(place)];
        row.start(limit);
        if (const CloudTree* tree = tree_of(queries, query)) {
          read(queries.positions, query, point.data());
          search(*tree, point.data(), row);
          row.finish();
        }
        write(block, query, row);
      }
    });
  }

  template <class Row>
  void search(const CloudTree& tree, const double* query, Row& row) const {
    struct Postponed {
      Candidate first;  // nothing below the node comes before it
      int64_t node;
    };
    Postponed stack[kMostLevels];
    int height = 0;
    const int64_t num_inner = tree.num_inner();
    // A copy whose address nobody has, so that the coordinates of few dimensions stay in registers.
    double copy[Dim > 0 ? Dim : 1];
    for (int axis = 0; axis < Dim; ++axis) copy[axis] = query[axis];
    const double* point = Dim > 0 ? copy : query;
    for (int64_t node = 0;;) {
      bool reached = true;
      while (node < num_inner) {
        double bounds[2];
        bounds_of_children(tree.first_node + node, point, bounds);
        const int64_t* least = least_.data() + 2 * (tree.first_node + node);
        const Candidate left{bounds[0], least[0]}, right{bounds[1], least[1]};
        const bool right_first = right < left;
        const Candidate& nearer = right_first ? right : left;
        const Candidate& farther = right_first ? left : right;
        if (!(nearer < row.last())) {
          reached = false;
          break;
        }
        if (farther < row.last()) stack[height++] = {farther, 2 * node + 1 + !right_first};
        node = 2 * node + 1 + right_first;
      }
      if (reached) scan(tree, node - num_inner, point, row);
      do {
        if (height == 0) return;
        --height;
      } while (!(stack[height].first < row.last()));
      node = stack[height].node;
    }
  }

  template <class Row>
  void scan(const CloudTree& tree, int64_t leaf, const double* point, Row& row) const {
    const T* points = points_.data() + (tree.first_leaf + leaf) * dim() * kLeafPoints;
    const int64_t* indices = indices_.data() + (tree.first_leaf + leaf) * kLeafPoints;
    const int64_t count = tree.begin(leaf + 1) - tree.begin(leaf);
    double squared[kLeafPoints] = {};
    for (int axis = 0; axis < dim(); ++axis) {
      for (int place = 0; place < kLeafPoints; ++place) {
        const double difference = point[axis] - static_cast<double>(points[axis * kLeafPoints + place]);
        squared[place] += difference * difference;
      }
    }
    // Which can enter the row is found without branches, since nobody could predict them.
    int entering[kLeafPoints];
    int num_entering = 0;
    const double limit = row.last().squared;
    for (int place = 0; place < count; ++place) {
      entering[num_entering] = place;
      num_entering += squared[place] <= limit;
    }
    for (int next = 0; next < num_entering; ++next) {
      const Candidate candidate{squared[entering[next]], indices[entering[next]]};
      if (candidate < row.last()) row.offer(candidate);
    }
  }

  int run_time_dim_;
  int64_t num_points_;
  const T* positions_;  // read while building only
  std::vector<CloudTree> clouds_;
  std::vector<T> boxes_;  // per inner node and axis: low ends of both children, then high ends
  std::vector<int64_t> least_;  // per inner node: lowest index in each child
  std::vector<T> points_;  // per leaf and axis
  std::vector<int64_t> indices_;  // per leaf, ascending
};

template <class T>
std::unique_ptr<SearchTree> make_tree(const PointArray& positions, int dim, const int64_t* order,
                                      const std::vector<int64_t>& begins, int num_threads) {
  const T* data = static_cast<const T*>(positions.data);
  switch (dim) {
    case 1: return std::make_unique<Tree<T, 1>>(data, positions.count, dim, order, begins, num_threads);
    case 2: return std::make_unique<Tree<T, 2>>(data, positions.count, dim, order, begins, num_threads);
    case 3: return std::make_unique<Tree<T, 3>>(data, positions.count, dim, order, begins, num_threads);
    case 4: return std::make_unique<Tree<T, 4>>(data, positions.count, dim, order, begins, num_threads);
    default: return std::make_unique<Tree<T, 0>>(data, positions.count, dim, order, begins, num_threads);
  }
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
                                             const std::vector<int64_t>& begins, int num_threads) {
  return positions.wide ? make_tree<double>(positions, dim, order, begins, num_threads)
                        : make_tree<float>(positions, dim, order, begins, num_threads);
}

}  // namespace gridless

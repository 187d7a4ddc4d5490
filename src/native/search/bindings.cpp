// SearchTree as Python sees it. Arrays come in without copies; rows go straight into the arrays that are given.
#include "search/bindings.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "search/tree.hpp"

namespace nb = nanobind;

namespace gridless {
namespace {

class BoundRows {
 public:
  explicit BoundRows(FoundRows rows) : rows_(std::move(rows)) {}

  void write_counts(MutableNumbers counts) const {
    require(counts.shape(0) == rows_.counts.size(), "counts must have one entry a query");
    std::copy(rows_.counts.begin(), rows_.counts.end(), counts.data());
  }

  void write(Numbers offsets, MutableNumbers indices, int num_threads) const {
    require(offsets.shape(0) == rows_.counts.size() + 1, "offsets must have one entry more than there are queries");
    for (size_t query = 0; query < rows_.counts.size(); ++query)
      require(offsets.data()[query + 1] - offsets.data()[query] == rows_.counts[query], "offsets must fit the counts");
    require(offsets.data()[0] == 0 && offsets.data()[rows_.counts.size()] == static_cast<int64_t>(indices.shape(0)),
            "indices must have one entry a pair");
    nb::gil_scoped_release released;
    rows_.write(offsets.data(), indices.data(), num_threads);
  }

 private:
  FoundRows rows_;
};

class BoundTree {
 public:
  BoundTree(Positions positions, std::optional<Numbers> order, Numbers begins, int num_threads,
            const std::string& instruction_set)
      : dim_(static_cast<int>(positions.shape(1))) {
    const PointArray points = point_array(positions);
    const std::vector<int64_t> cloud_begins = checked_begins(begins, points.count);
    require(dim_ > 0, "positions must have axes");
    const int64_t* const checked = checked_order(order, points.count);
    const InstructionSet chosen = instruction_set_named(instruction_set);
    nb::gil_scoped_release released;
    tree_ = make_search_tree(points, dim_, checked, cloud_begins, num_threads, chosen);
  }

  void knn(Positions queries, std::optional<Numbers> clouds, int64_t k, MutableNumbers indices, MutableNumbers counts,
           int num_threads) const {
    const Queries checked = checked_queries(queries, clouds);
    require(k > 0 && static_cast<int64_t>(indices.shape(0)) == checked.positions.count * k,
            "indices must have k > 0 entries a query");
    require(static_cast<int64_t>(counts.shape(0)) == checked.positions.count, "counts must have one entry a query");
    nb::gil_scoped_release released;
    tree_->knn(checked, k, indices.data(), counts.data(), num_threads);
  }

  BoundRows within_radius(Positions queries, std::optional<Numbers> clouds, double radius, int64_t max_neighbors,
                          int num_threads) const {
    const Queries checked = checked_queries(queries, clouds);
    nb::gil_scoped_release released;
    return BoundRows(tree_->within_radius(checked, radius, max_neighbors, num_threads));
  }

 private:
  Queries checked_queries(const Positions& queries, const std::optional<Numbers>& clouds) const {
    const PointArray points = point_array(queries);
    require(static_cast<int>(queries.shape(1)) == dim_, "queries must have as many axes as the points");
    require(!clouds || static_cast<int64_t>(clouds->shape(0)) == points.count, "clouds must have one entry a query");
    return {points, clouds ? clouds->data() : nullptr};
  }

  int dim_;
  std::unique_ptr<SearchTree> tree_;
};

}  // namespace

void bind_search(nb::module_& module) {
  nb::class_<BoundRows>(module, "FoundRows")
      .def("write_counts", &BoundRows::write_counts, nb::arg("counts"))
      .def("write", &BoundRows::write, nb::arg("offsets"), nb::arg("indices"), nb::arg("num_threads"));
  nb::class_<BoundTree>(module, "SearchTree")
      .def(nb::init<Positions, std::optional<Numbers>, Numbers, int, const std::string&>(), nb::arg("positions"),
           nb::arg("order").none(), nb::arg("begins"), nb::arg("num_threads"), nb::arg("instruction_set"))
      .def("knn", &BoundTree::knn, nb::arg("queries"), nb::arg("clouds").none(), nb::arg("k"), nb::arg("indices"),
           nb::arg("counts"), nb::arg("num_threads"))
      .def("within_radius", &BoundTree::within_radius, nb::arg("queries"), nb::arg("clouds").none(), nb::arg("radius"),
           nb::arg("max_neighbors"), nb::arg("num_threads"));
}

}  // namespace gridless

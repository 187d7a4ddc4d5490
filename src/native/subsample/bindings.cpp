// Subsampling as Python sees it. Arrays come in without copies; results go straight into the arrays that are given.
#include "subsample/bindings.hpp"

#include <nanobind/stl/optional.h>

#include <optional>
#include <vector>

#include "arrays.hpp"
#include "subsample/farthest.hpp"
#include "subsample/voxel_grid.hpp"

namespace nb = nanobind;

namespace gridless {
namespace {

using Lengths = Vector1<const double>;

bool bound_voxel_grid(Positions positions, Lengths edges, Lengths origin, std::optional<Numbers> clouds,
                      MutableNumbers kept_of, int num_threads) {
  const PointArray points = point_array(positions);
  const size_t dim = positions.shape(1);
  require(edges.shape(0) == dim && origin.shape(0) == dim, "edges and origin must have one entry an axis");
  require(!clouds || static_cast<int64_t>(clouds->shape(0)) == points.count, "clouds must have one entry a point");
  require(static_cast<int64_t>(kept_of.shape(0)) == points.count, "kept_of must have one entry a point");
  nb::gil_scoped_release released;
  return voxel_grid(points, static_cast<int>(dim), edges.data(), origin.data(), clouds ? clouds->data() : nullptr,
                    kept_of.data(), num_threads);
}

void bound_farthest(Positions positions, std::optional<Numbers> order, Numbers begins, Numbers chosen_begins,
                    int64_t start, MutableNumbers chosen, int num_threads) {
  const PointArray points = point_array(positions);
  const std::vector<int64_t> clouds = checked_begins(begins, points.count);
  const std::vector<int64_t> rows = checked_begins(chosen_begins, static_cast<int64_t>(chosen.shape(0)));
  require(rows.size() == clouds.size(), "chosen_begins must have as many entries as begins");
  for (size_t cloud = 1; cloud < rows.size(); ++cloud)
    require(rows[cloud] - rows[cloud - 1] <= clouds[cloud] - clouds[cloud - 1],
            "no more points can be chosen than a cloud has");
  require(positions.shape(1) > 0, "positions must have axes");
  require(start >= 0, "start must not be negative");
  const int64_t* const checked = checked_order(order, points.count);
  nb::gil_scoped_release released;
  farthest_points(points, static_cast<int>(positions.shape(1)), checked, clouds, rows, start, chosen.data(),
                  num_threads);
}

}  // namespace

void bind_subsample(nb::module_& module) {
  module.def("voxel_grid", &bound_voxel_grid, nb::arg("positions"), nb::arg("edges"), nb::arg("origin"),
             nb::arg("clouds").none(), nb::arg("kept_of"), nb::arg("num_threads"));
  module.def("farthest", &bound_farthest, nb::arg("positions"), nb::arg("order").none(), nb::arg("begins"),
             nb::arg("chosen_begins"), nb::arg("start"), nb::arg("chosen"), nb::arg("num_threads"));
}

}  // namespace gridless

// Interpolation as Python sees it. Arrays come in without copies; results go straight into the arrays that are given.
#include "interpolation/bindings.hpp"

#include "arrays.hpp"
#include "compressed_rows.hpp"
#include "interpolation/inverse_distance.hpp"

namespace nb = nanobind;

namespace gridless {
namespace {

using Weights = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void bound_inverse_distance_weights(Positions sources, Positions queries, Numbers indices, Numbers offsets, double power,
                                    Weights weights, int num_threads) {
  const PointArray source_points = point_array(sources), query_points = point_array(queries);
  const auto num_pairs = static_cast<int64_t>(indices.shape(0));
  require(sources.shape(1) == queries.shape(1), "sources and queries must have the same axes");
  require(source_points.wide == query_points.wide, "sources and queries must have the same dtype");
  require(weights.dtype() == sources.dtype(), "weights must have the positions' dtype");
  require(static_cast<int64_t>(weights.shape(0)) == num_pairs, "weights must have one entry a pair");
  require(static_cast<int64_t>(offsets.shape(0)) == query_points.count + 1, "offsets must be [queries + 1]");
  require_ascending(offsets.data(), query_points.count, num_pairs);
  nb::gil_scoped_release released;
  const bool inside = inverse_distance_weights(source_points, query_points, static_cast<int>(sources.shape(1)),
                                               indices.data(), offsets.data(), power, weights.data(), num_threads);
  require_inside(inside, source_points.count);
}

}  // namespace

void bind_interpolation(nb::module_& module) {
  module.def("inverse_distance_weights", &bound_inverse_distance_weights, nb::arg("sources"), nb::arg("queries"),
             nb::arg("indices"), nb::arg("offsets"), nb::arg("power"), nb::arg("weights").noconvert(),
             nb::arg("num_threads"));
}

}  // namespace gridless

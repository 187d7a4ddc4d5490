// Arguments that the bindings of points share, and their checks.
#pragma once

#include <nanobind/ndarray.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "point_array.hpp"

namespace gridless {

using Positions = nanobind::ndarray<nanobind::ro, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;
template <class T>
using Vector1 = nanobind::ndarray<T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;
using Numbers = Vector1<const int64_t>;
using MutableNumbers = Vector1<int64_t>;

inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

inline PointArray point_array(const Positions& positions) {
  const bool wide = positions.dtype() == nanobind::dtype<double>();
  require(wide || positions.dtype() == nanobind::dtype<float>(), "positions must be float32 or float64");
  return {positions.data(), static_cast<int64_t>(positions.shape(0)), wide};
}

// Where ranges begin, and where the last one ends.
inline std::vector<int64_t> checked_begins(const Numbers& begins, int64_t count) {
  const std::vector<int64_t> checked(begins.data(), begins.data() + begins.shape(0));
  require(!checked.empty() && checked.front() == 0 && checked.back() == count, "begins must go from 0 to the count");
  for (size_t range = 1; range < checked.size(); ++range)
    require(checked[range - 1] <= checked[range], "begins must not decrease");
  return checked;
}

// Null for no order.
inline const int64_t* checked_order(const std::optional<Numbers>& order, int64_t num_points) {
  if (!order) return nullptr;
  require(static_cast<int64_t>(order->shape(0)) == num_points, "order must have one entry a point");
  std::vector<bool> seen(order->shape(0));
  for (int64_t place = 0; place < num_points; ++place) {
    const int64_t index = order->data()[place];
    require(index >= 0 && index < num_points && !seen[static_cast<size_t>(index)],
            "order must hold the index of every point once");
    seen[static_cast<size_t>(index)] = true;
  }
  return order->data();
}

}  // namespace gridless

// Farthest-point sampling.
#pragma once

#include <cstdint>
#include <vector>

#include "point_array.hpp"

namespace gridless {

// Cloud c has the points order[begins[c]:begins[c + 1]]; null `order` is 0, 1, 2, … Of them chosen[chosen_begins[c]:
// chosen_begins[c + 1]] become, first, the one at `start` (at most the last), then each time the one that is farthest from
// those before it: by the largest squared distance to the nearest of them, then by the lowest place in `order`. Squared
// distances are sums over the axes, first to last, of coordinates relative to the cloud's first point, in their type.
void farthest_points(const PointArray& positions, int dim, const int64_t* order, const std::vector<int64_t>& begins,
                     const std::vector<int64_t>& chosen_begins, int64_t start, int64_t* chosen, int num_threads);

}  // namespace gridless

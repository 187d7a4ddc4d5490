// Weights of inverse-distance interpolation.
#pragma once

#include <cstdint>

#include "point_array.hpp"

namespace gridless {

// w_e = |x_i - y_j|^-power over its sum in row i, for every pair e of row i and source j; both arrays of positions and the
// weights are float, or double where the positions are wide. False, and nothing of use written, where an index lies
// outside.
//
// Distances are taken relative to the row's smallest, so that no power of one overflows or vanishes. Beside a source that
// the query sits on, the others have no weight; nor have they where it would be a denormal number, which changes no
// interpolated value, but products with those values take a hundred times as long.
bool inverse_distance_weights(const PointArray& sources, const PointArray& queries, int dim, const int64_t* indices,
                              const int64_t* offsets, double power, void* weights, int num_threads);

}  // namespace gridless

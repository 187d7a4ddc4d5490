// One point per occupied voxel.
#pragma once

#include <cstdint>

#include "point_array.hpp"

namespace gridless {

// kept_of[i] = the point that is nearest to the mean of all points in point i's voxel, floor((y − origin) / edge) on each
// axis, and, where there are clouds, in its cloud. Sums run in the order of the indices; the lowest index of equals is
// kept. False, and nothing written, where a voxel number reaches 2^62.
bool voxel_grid(const PointArray& positions, int dim, const double* edges, const double* origin, const int64_t* clouds,
                int64_t* kept_of, int num_threads);

}  // namespace gridless

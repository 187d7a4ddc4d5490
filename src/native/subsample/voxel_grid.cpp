#include "subsample/voxel_grid.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace gridless {
namespace {

constexpr double kLargestCell = 4611686018427387904.0;  // 2^62
constexpr int64_t kPointsPerBlock = 4096;
constexpr int64_t kPointsPerPart = 2048;
constexpr int kMostPartBits = 10;
constexpr uint64_t kHashFactor = 0x9e3779b97f4a7c15u;  // odd, 2^64 over the golden ratio

size_t at(int64_t place) { return static_cast<size_t>(place); }

// Points in voxels, in parts that are decided by the hash of the voxel: no voxel is in two of them. T is the type in which
// positions came, Dim their dimension, or 0 for one known at run time.
template <class T, int Dim>
class Voxels {
 public:
  Voxels(const T* positions, int64_t num_points, int dim, const int64_t* clouds, int num_threads)
      : positions_(positions), num_points_(num_points), run_time_dim_(dim), clouds_(clouds), num_threads_(num_threads),
        cells_(at(num_points * dim)), hashes_(at(num_points)) {}

  bool find_cells(const double* edges, const double* origin) {
    std::atomic<bool> too_far{false};
    parallel_for(num_threads_, (num_points_ + kPointsPerBlock - 1) / kPointsPerBlock, [&](int64_t block, int) {
      const int64_t end = std::min(num_points_, (block + 1) * kPointsPerBlock);
      for (int64_t point = block * kPointsPerBlock; point < end; ++point) {
        uint64_t hash = clouds_ ? static_cast<uint64_t>(clouds_[point]) : 0, factor = kHashFactor;
        for (int axis = 0; axis < dim(); ++axis) {
          const double place = (static_cast<double>(positions_[point * dim() + axis]) - origin[axis]) / edges[axis];
          if (!(std::abs(place) < kLargestCell)) {
            too_far = true;
            return;
          }
          // Without a call to floor(), which machines of old have no instruction for.
          int64_t cell = static_cast<int64_t>(place);
          cell -= static_cast<double>(cell) > place;
          cells_[at(point * dim() + axis)] = cell;
          hash += static_cast<uint64_t>(cell) * factor;
          factor *= kHashFactor;
        }
        hash ^= hash >> 32;
        hashes_[at(point)] = hash * kHashFactor;
      }
    });
    return !too_far;
  }

  void find_kept(int64_t* kept_of) {
    int part_bits = 0;
    while (part_bits < kMostPartBits && num_points_ >> part_bits > kPointsPerPart) ++part_bits;
    const int64_t num_parts = int64_t{1} << part_bits;
    const auto part_of = [&](int64_t point) { return part_bits ? hashes_[at(point)] >> (64 - part_bits) : 0; };
    std::vector<int64_t> begins(at(num_parts + 1)), order(at(num_points_));
    for (int64_t point = 0; point < num_points_; ++point) ++begins[part_of(point) + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    std::vector<int64_t> places(begins);
    for (int64_t point = 0; point < num_points_; ++point) order[at(places[part_of(point)]++)] = point;

    std::vector<Part> parts(at(std::max(num_threads_, 1)));
    parallel_for(num_threads_, num_parts, [&](int64_t part, int thread) {
      find_kept_in(order.data() + begins[at(part)], order.data() + begins[at(part + 1)], parts[at(thread)], kept_of);
    });
  }

 private:
  struct Voxel {
    int64_t first, kept, num_points;
    double squared;  // of the kept point's distance to the mean
  };

  struct Part {
    std::vector<int64_t> table;     // open addressing: a voxel, or -1
    std::vector<int64_t> voxel_of;  // of each point
    std::vector<Voxel> voxels;      // as many as there are points, num_voxels of them in use
    std::vector<double> means;      // [voxel, D], relative to the voxel's first point
    int64_t num_voxels = 0;
  };

  int dim() const { return Dim > 0 ? Dim : run_time_dim_; }

  // The points are in the order of their indices, and so is everything that is done to them.
  void find_kept_in(const int64_t* begin, const int64_t* end, Part& part, int64_t* kept_of) const {
    size_t table_size = 16;
    while (table_size < 2 * at(end - begin)) table_size *= 2;
    part.table.assign(table_size, -1);
    part.voxel_of.resize(at(end - begin));
    part.voxels.resize(at(end - begin));
    part.means.assign(at((end - begin) * dim()), 0.0);
    part.num_voxels = 0;
    for (const int64_t* point = begin; point != end; ++point) {
      const int64_t voxel = voxel_with(*point, part);
      part.voxel_of[at(point - begin)] = voxel;
      ++part.voxels[at(voxel)].num_points;
      for (int axis = 0; axis < dim(); ++axis)
        part.means[at(voxel * dim() + axis)] += relative(*point, part.voxels[at(voxel)].first, axis);
    }
    for (int64_t voxel = 0; voxel < part.num_voxels; ++voxel)
      for (int axis = 0; axis < dim(); ++axis)
        part.means[at(voxel * dim() + axis)] /= static_cast<double>(part.voxels[at(voxel)].num_points);
    for (const int64_t* point = begin; point != end; ++point) {
      const int64_t voxel = part.voxel_of[at(point - begin)];
      Voxel& of = part.voxels[at(voxel)];
      double squared = 0;
      for (int axis = 0; axis < dim(); ++axis) {
        const double difference = relative(*point, of.first, axis) - part.means[at(voxel * dim() + axis)];
        squared += difference * difference;
      }
      if (squared < of.squared) {
        of.squared = squared;
        of.kept = *point;
      }
    }
    for (const int64_t* point = begin; point != end; ++point)
      kept_of[*point] = part.voxels[at(part.voxel_of[at(point - begin)])].kept;
  }

  // Coordinates far from the origin lose no digits in sums when they are relative to a point nearby.
  double relative(int64_t point, int64_t first, int axis) const {
    return static_cast<double>(positions_[point * dim() + axis]) - static_cast<double>(positions_[first * dim() + axis]);
  }

  int64_t voxel_with(int64_t point, Part& part) const {
    const size_t mask = part.table.size() - 1;
    size_t slot = hashes_[at(point)] & mask;
    while (part.table[slot] >= 0) {
      if (same_voxel(point, part.voxels[at(part.table[slot])].first)) return part.table[slot];
      slot = (slot + 1) & mask;
    }
    const int64_t voxel = part.num_voxels++;
    part.table[slot] = voxel;
    part.voxels[at(voxel)] = {point, point, 0, std::numeric_limits<double>::infinity()};
    return voxel;
  }

  bool same_voxel(int64_t one, int64_t other) const {
    return (!clouds_ || clouds_[one] == clouds_[other]) &&
           std::equal(cells_.data() + one * dim(), cells_.data() + (one + 1) * dim(), cells_.data() + other * dim());
  }

  const T* positions_;
  int64_t num_points_;
  int run_time_dim_;
  const int64_t* clouds_;
  int num_threads_;
  std::vector<int64_t> cells_;  // [N, D]
  std::vector<uint64_t> hashes_;
};

template <class T, int Dim>
bool find_kept(const PointArray& positions, int dim, const double* edges, const double* origin, const int64_t* clouds,
               int64_t* kept_of, int num_threads) {
  Voxels<T, Dim> voxels(static_cast<const T*>(positions.data), positions.count, dim, clouds, num_threads);
  if (!voxels.find_cells(edges, origin)) return false;
  voxels.find_kept(kept_of);
  return true;
}

}  // namespace

bool voxel_grid(const PointArray& positions, int dim, const double* edges, const double* origin, const int64_t* clouds,
                int64_t* kept_of, int num_threads) {
  const auto find = positions.wide ? dim == 3 ? find_kept<double, 3> : find_kept<double, 0>
                    : dim == 3     ? find_kept<float, 3>
                                   : find_kept<float, 0>;
  return find(positions, dim, edges, origin, clouds, kept_of, num_threads);
}

}  // namespace gridless

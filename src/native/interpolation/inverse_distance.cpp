#include "interpolation/inverse_distance.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "parallel.hpp"

namespace gridless {
namespace {

constexpr int64_t kRowsTogether = 4096;

template <class T>
struct Problem {
  const T* sources;
  int64_t num_sources;
  const T* queries;
  int dim;
  const int64_t* indices;
  const int64_t* offsets;
  T power;
  T* weights;
};

template <class T>
bool weigh_row(const Problem<T>& problem, int64_t row) {
  constexpr T kSmallest = std::numeric_limits<T>::min();
  constexpr T kLeastWeight = std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();
  const int64_t begin = problem.offsets[row], end = problem.offsets[row + 1];
  const T* query = problem.queries + row * problem.dim;
  T nearest = std::numeric_limits<T>::infinity();
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t index = problem.indices[pair];
    if (static_cast<uint64_t>(index) >= static_cast<uint64_t>(problem.num_sources)) return false;
    const T* source = problem.sources + index * problem.dim;
    T squared = 0;
    for (int d = 0; d < problem.dim; ++d) squared += (query[d] - source[d]) * (query[d] - source[d]);
    problem.weights[pair] = squared;
    nearest = std::min(nearest, squared);
  }
  const T unit = std::max(nearest, kSmallest);
  T total = 0;
  for (int64_t pair = begin; pair < end; ++pair) {
    const T squared = problem.weights[pair], relative = std::max(squared, kSmallest) / unit;
    T weight = problem.power == 2 ? 1 / relative : std::pow(relative, -problem.power / 2);
    if (weight < kLeastWeight || (nearest == 0 && squared > 0)) weight = 0;
    problem.weights[pair] = weight;
    total += weight;
  }
  for (int64_t pair = begin; pair < end; ++pair) problem.weights[pair] /= total;
  return true;
}

template <class T>
bool weigh(const Problem<T>& problem, int64_t num_rows, int num_threads) {
  std::atomic<bool> inside{true};
  parallel_for(num_threads, (num_rows + kRowsTogether - 1) / kRowsTogether, [&](int64_t task, int) {
    const int64_t end = std::min(num_rows, (task + 1) * kRowsTogether);
    for (int64_t row = task * kRowsTogether; row < end; ++row) {
      if (!weigh_row(problem, row)) inside = false;
    }
  });
  return inside;
}

}  // namespace

bool inverse_distance_weights(const PointArray& sources, const PointArray& queries, int dim, const int64_t* indices,
                              const int64_t* offsets, double power, void* weights, int num_threads) {
  const auto weigh_as = [&](auto zero) {
    using T = decltype(zero);
    return weigh<T>({static_cast<const T*>(sources.data), sources.count, static_cast<const T*>(queries.data), dim,
                     indices, offsets, static_cast<T>(power), static_cast<T*>(weights)},
                    queries.count, num_threads);
  };
  return sources.wide ? weigh_as(double{}) : weigh_as(float{});
}

}  // namespace gridless

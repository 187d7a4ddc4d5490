// Search, subsampling and weights of interpolation against plain loops over points, without Python, so that sanitizers
// can watch them, and with every allocation failing in turn: `make sanitize`.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <random>
#include <utility>
#include <vector>

#include "interpolation/inverse_distance.hpp"
#include "search/tree.hpp"
#include "subsample/farthest.hpp"
#include "subsample/voxel_grid.hpp"

namespace {

std::atomic<bool> allocations_fail{false};
std::atomic<int64_t> allocations_left{0};

}  // namespace

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  // Once memory has run out, there is none for the other threads either.
  if (allocations_fail && allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
  void* memory = nullptr;
  if (posix_memalign(&memory, static_cast<std::size_t>(alignment), bytes) == 0) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes) { return operator new(bytes, std::align_val_t{alignof(std::max_align_t)}); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace gridless;

namespace {

constexpr int kThreads = 4;
int failures = 0;

size_t at(int64_t place) { return static_cast<size_t>(place); }

void expect(bool condition, const char* what, int64_t num_points, int dim) {
  if (condition) return;
  std::printf("%s: wrong for %lld points in %d dimensions\n", what, static_cast<long long>(num_points), dim);
  ++failures;
}

// Clouds of the given sizes; their points lie shuffled among each other. `distinct` positions an axis, 1 for copies only.
template <class T>
struct Points {
  int dim;
  std::vector<int64_t> begins{0}, order, cloud_of;
  std::vector<T> positions;

  Points(const std::vector<int64_t>& sizes, int dimensions, int distinct) : dim(dimensions) {
    std::mt19937 generator(3);
    for (int64_t size : sizes) begins.push_back(begins.back() + size);
    order.resize(at(count()));
    for (int64_t place = 0; place < count(); ++place) order[at(place)] = place;
    std::shuffle(order.begin(), order.end(), generator);
    cloud_of.resize(at(count()));
    for (int64_t cloud = 0; cloud < num_clouds(); ++cloud) {
      std::sort(order.begin() + begins[at(cloud)], order.begin() + begins[at(cloud + 1)]);
      for (int64_t place = begins[at(cloud)]; place < begins[at(cloud + 1)]; ++place)
        cloud_of[at(order[at(place)])] = cloud;
    }
    std::uniform_int_distribution<int> any(0, distinct - 1);
    for (int64_t number = 0; number < count() * dim; ++number) positions.push_back(static_cast<T>(any(generator)) / 16);
  }
  int64_t count() const { return begins.back(); }
  int64_t num_clouds() const { return static_cast<int64_t>(begins.size()) - 1; }
  PointArray array() const { return {positions.data(), count(), sizeof(T) == sizeof(double)}; }
  double squared(int64_t one, int64_t other) const {
    double sum = 0;
    for (int axis = 0; axis < dim; ++axis) {
      const double difference = static_cast<double>(positions[at(one * dim + axis)]) -
                                static_cast<double>(positions[at(other * dim + axis)]);
      sum += difference * difference;
    }
    return sum;
  }
};

// Of the query's cloud, at most k points with a squared distance of at most `limit`.
template <class T>
std::vector<int64_t> expected_row(const Points<T>& points, int64_t query, int64_t k, double limit) {
  std::vector<std::pair<double, int64_t>> found;
  for (int64_t other = 0; other < points.count(); ++other) {
    const double squared = points.squared(query, other);
    if (points.cloud_of[at(query)] == points.cloud_of[at(other)] && squared <= limit) found.push_back({squared, other});
  }
  std::sort(found.begin(), found.end());
  std::vector<int64_t> row;
  for (const auto& [squared, other] : found) {
    if (static_cast<int64_t>(row.size()) == k) break;
    row.push_back(other);
  }
  return row;
}

template <class T>
void compare_nearest(const Points<T>& points, const SearchTree& tree, const Queries& queries, int64_t k) {
  std::vector<int64_t> indices(at(points.count() * k)), counts(at(points.count()));
  tree.knn(queries, k, indices.data(), counts.data(), kThreads);
  for (int64_t query = 0; query < points.count(); ++query) {
    const auto first = indices.begin() + query * k;
    expect(std::vector<int64_t>(first, first + counts[at(query)]) ==
               expected_row(points, query, k, std::numeric_limits<double>::max()),
           "knn", points.count(), points.dim);
  }
}

template <class T>
void compare_within(const Points<T>& points, const SearchTree& tree, const Queries& queries, double radius, int64_t most) {
  const FoundRows found = tree.within_radius(queries, radius, most, kThreads);
  std::vector<int64_t> offsets{0};
  for (int64_t count : found.counts) offsets.push_back(offsets.back() + count);
  std::vector<int64_t> indices(at(offsets.back()));
  found.write(offsets.data(), indices.data(), kThreads);
  for (int64_t query = 0; query < points.count(); ++query)
    expect(std::vector<int64_t>(indices.begin() + offsets[at(query)], indices.begin() + offsets[at(query + 1)]) ==
               expected_row(points, query, most ? most : points.count(), radius * radius),
           "within_radius", points.count(), points.dim);
}

template <class T>
void compare_farthest(const Points<T>& points, int64_t wanted, int64_t start) {
  std::vector<int64_t> chosen_begins{0};
  for (int64_t cloud = 0; cloud < points.num_clouds(); ++cloud)
    chosen_begins.push_back(chosen_begins.back() +
                            std::min(wanted, points.begins[at(cloud + 1)] - points.begins[at(cloud)]));
  std::vector<int64_t> chosen(at(chosen_begins.back()));
  farthest_points(points.array(), points.dim, points.order.data(), points.begins, chosen_begins, start, chosen.data(),
                  kThreads);
  std::vector<int64_t> expected;
  for (int64_t cloud = 0; cloud < points.num_clouds(); ++cloud) {
    const int64_t size = points.begins[at(cloud + 1)] - points.begins[at(cloud)];
    const int64_t* const own = points.order.data() + points.begins[at(cloud)];
    std::vector<double> nearest(at(size), std::numeric_limits<double>::infinity());
    int64_t current = std::min(start, size - 1);
    for (int64_t left = std::min(wanted, size); left > 0; --left) {
      expected.push_back(own[current]);
      for (int64_t place = 0; place < size; ++place)
        nearest[at(place)] = std::min(nearest[at(place)], points.squared(own[place], own[current]));
      nearest[at(current)] = -1;
      current = std::max_element(nearest.begin(), nearest.end()) - nearest.begin();
    }
  }
  expect(chosen == expected, "farthest", points.count(), points.dim);
}

template <class T>
void compare_voxels(const Points<T>& points, double edge) {
  const int dim = points.dim;
  const std::vector<double> edges(at(dim), edge), origin(at(dim), 0.0);
  std::vector<int64_t> kept_of(at(points.count()));
  expect(voxel_grid(points.array(), dim, edges.data(), origin.data(), points.cloud_of.data(), kept_of.data(), kThreads),
         "voxel_grid", points.count(), dim);
  std::map<std::vector<int64_t>, std::vector<int64_t>> voxels;
  for (int64_t point = 0; point < points.count(); ++point) {
    std::vector<int64_t> cell{points.cloud_of[at(point)]};
    for (int axis = 0; axis < dim; ++axis)
      cell.push_back(static_cast<int64_t>(static_cast<double>(points.positions[at(point * dim + axis)]) / edge));
    voxels[cell].push_back(point);
  }
  for (const auto& [cell, members] : voxels) {
    // Coordinates are multiples of 1/16: sums are exact, and the distance to a mean rounds alike in any order.
    const auto distance = [&, &of = members](int64_t point) {
      double squared = 0;
      for (int axis = 0; axis < dim; ++axis) {
        double sum = 0;
        const auto relative = [&](int64_t index) {
          return static_cast<double>(points.positions[at(index * dim + axis)]) -
                 static_cast<double>(points.positions[at(of.front() * dim + axis)]);
        };
        for (int64_t other : of) sum += relative(other);
        const double difference = relative(point) - sum / static_cast<double>(of.size());
        squared += difference * difference;
      }
      return squared;
    };
    const int64_t kept = *std::min_element(members.begin(), members.end(), [&](int64_t one, int64_t other) {
      return distance(one) < distance(other);
    });
    for (int64_t point : members) expect(kept_of[at(point)] == kept, "voxel_grid", points.count(), dim);
  }
}

template <class T>
void compare_searches(const Points<T>& points, InstructionSet instruction_set) {
  const auto tree =
      make_search_tree(points.array(), points.dim, points.order.data(), points.begins, kThreads, instruction_set);
  const Queries own{points.array(), points.cloud_of.data()};
  // Elsewhere in memory, queries are visited in another order.
  const std::vector<T> copy(points.positions);
  const Queries others{{copy.data(), points.count(), sizeof(T) == sizeof(double)}, points.cloud_of.data()};
  for (int64_t k : {1, 16, 30, 60, 70, 2000}) compare_nearest(points, *tree, own, k);  // in sorted rows and in halved ones
  compare_nearest(points, *tree, others, 5);
  for (double radius : {0.0, 0.25, 1e9}) compare_within(points, *tree, own, radius, 0);
  for (int64_t most : {3, 100}) compare_within(points, *tree, others, 0.5, most);
}

template <class T>
void compare_all(const std::vector<int64_t>& sizes, int dim, int distinct) {
  const Points<T> points(sizes, dim, distinct);
  for (InstructionSet instruction_set : usable_instruction_sets()) compare_searches(points, instruction_set);
  for (int64_t start : {0, 40}) compare_farthest(points, 50, start);
  compare_farthest(points, 5000, 0);
  for (double edge : {0.3, 1e6}) compare_voxels(points, edge);
}

void search_where_there_is_nothing() {
  const std::vector<float> queries(30);
  const std::vector<int64_t> nowhere(10, -1), beyond(10, 7);
  for (const auto& clouds : {nowhere, beyond}) {
    const auto tree = make_search_tree({nullptr, 0, false}, 3, nullptr, {0, 0, 0}, kThreads, usable_instruction_sets().back());
    std::vector<int64_t> indices(50), counts(10, 9);
    tree->knn({{queries.data(), 10, false}, clouds.data()}, 5, indices.data(), counts.data(), kThreads);
    expect(counts == std::vector<int64_t>(10), "knn without sources", 0, 3);
  }
}

template <class T>
void compare_interpolation(int dim) {
  const Points<T> sources({500}, dim, 1000), queries({9000}, dim, 1000);
  const int64_t num_queries = queries.count();
  std::vector<int64_t> offsets{0}, indices;
  for (int64_t query = 0; query < num_queries; ++query) {
    for (int64_t pair = 0; pair < query % 5; ++pair) indices.push_back((query * 7 + pair * 13) % sources.count());
    offsets.push_back(static_cast<int64_t>(indices.size()));
  }
  std::vector<T> weights(indices.size());
  const auto weigh = [&](double power) {
    return inverse_distance_weights(sources.array(), queries.array(), dim, indices.data(), offsets.data(), power,
                                    weights.data(), kThreads);
  };
  for (double power : {1.0, 2.0}) {
    bool equal = weigh(power);
    for (int64_t query = 0; query < num_queries; ++query) {
      std::vector<double> wanted;
      double total = 0;
      bool on_source = false;
      for (int64_t pair = offsets[at(query)]; pair < offsets[at(query + 1)]; ++pair) {
        double squared = 0;
        for (int d = 0; d < dim; ++d) {
          const double offset = static_cast<double>(queries.positions[at(query * dim + d)]) -
                                static_cast<double>(sources.positions[at(indices[at(pair)] * dim + d)]);
          squared += offset * offset;
        }
        on_source = on_source || squared == 0;
        wanted.push_back(std::pow(squared, -power / 2));
        total += wanted.back();
      }
      if (on_source) continue;  // the tests in Python have these
      for (size_t pair = 0; pair < wanted.size(); ++pair) {
        const auto got = static_cast<double>(weights[at(offsets[at(query)]) + pair]);
        equal = equal && std::abs(got - wanted[pair] / total) < (sizeof(T) == 4 ? 1e-4 : 1e-12);
      }
    }
    expect(equal, "weights of an interpolation", num_queries, dim);
  }
  for (int64_t outside : {int64_t{-1}, sources.count()}) {
    indices[100] = outside;
    expect(!weigh(2.0), "an index outside", num_queries, dim);
  }
}

void refuse_distant_voxels() {
  const std::vector<double> positions{0.0, 1e300, 2.0}, edge{1e-6}, origin{0.0};
  std::vector<int64_t> kept_of(3);
  expect(!voxel_grid({positions.data(), 3, true}, 1, edge.data(), origin.data(), nullptr, kept_of.data(), kThreads),
         "voxel_grid of distant points", 3, 1);
}

// Every loop must end with an exception that the caller can catch, whichever thread the memory runs out in.
template <class Run>
void run_out_of_memory(const char* what, const Run& run) {
  for (int64_t allocations = 0;; ++allocations) {
    allocations_left = allocations;
    allocations_fail = true;
    try {
      run();
      allocations_fail = false;
      expect(allocations > 0, what, 0, 0);
      return;
    } catch (const std::bad_alloc&) {
      allocations_fail = false;
    }
  }
}

void run_out_of_memory_everywhere() {
  const Points<float> points({300, 0, 200}, 3, 64);
  const Queries queries{points.array(), points.cloud_of.data()};
  const auto make = [&] {
    return make_search_tree(points.array(), points.dim, points.order.data(), points.begins, kThreads,
                            usable_instruction_sets().back());
  };
  const auto tree = make();
  std::vector<int64_t> indices(at(points.count() * 100)), counts(at(points.count())), kept_of(at(points.count()));
  run_out_of_memory("tree", make);
  for (int64_t k : {4, 100})
    run_out_of_memory("knn", [&] { tree->knn(queries, k, indices.data(), counts.data(), kThreads); });
  run_out_of_memory("within_radius", [&] { tree->within_radius(queries, 0.5, 0, kThreads); });
  const std::vector<int64_t> rows{0, 50, 50, 100};
  run_out_of_memory("farthest", [&] {
    farthest_points(points.array(), points.dim, points.order.data(), points.begins, rows, 0, indices.data(), kThreads);
  });
  const std::vector<double> edges(3, 0.3), origin(3);
  run_out_of_memory("voxel_grid", [&] {
    voxel_grid(points.array(), points.dim, edges.data(), origin.data(), nullptr, kept_of.data(), kThreads);
  });
}

}  // namespace

int main() {
  for (int dim : {1, 2, 3, 4, 6}) {
    for (int distinct : {1, 3, 1000}) {
      for (const auto& sizes : std::vector<std::vector<int64_t>>{{0}, {1}, {16}, {17}, {300}, {0, 1, 200, 0, 33, 2}}) {
        compare_all<float>(sizes, dim, distinct);
        compare_all<double>(sizes, dim, distinct);
      }
    }
  }
  for (int dim : {1, 3, 5}) {
    compare_interpolation<float>(dim);
    compare_interpolation<double>(dim);
  }
  search_where_there_is_nothing();
  refuse_distant_voxels();
  run_out_of_memory_everywhere();
  std::puts(failures ? "failed" : "passed");
  return failures != 0;
}

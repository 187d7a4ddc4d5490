// Packets of queries through a k-d tree (packets.hpp), compiled once for each instruction set. Squared distances and
// bounds round as in the reference: products are never fused with sums here.
#include "search/lanes.hpp"
#include "search/packets.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {
namespace {

// Wide vectors carry many queries through a node at once; with narrow ones each more costs as much as alone.
constexpr int kQueryParts = 2, kQueries = kQueryParts * kLanes, kPointParts = kLeafPoints / kLanes;
static_assert(kQueries <= kPacketQueries, "packets must hold all queries");

// Squared distances of all queries from a box.
struct Bounds {
  Vector<double> parts[kQueryParts];
};

// `box` holds per axis the low ends of two children and their high ends.
template <class T, int Dim>
GRIDLESS_INLINE Bounds bounds_of_child(int dim, const T* box, int side, const double* positions) {
  Bounds bounds = {};
  for (int axis = 0; axis < (Dim > 0 ? Dim : dim); ++axis, box += 4, positions += kPacketQueries) {
    const Vector<double> low = broadcast(static_cast<double>(box[side]));
    const Vector<double> high = broadcast(static_cast<double>(box[2 + side]));
    for (int part = 0; part < kQueryParts; ++part) {
      const Vector<double> position = load<double>(positions + part * kLanes);
      const Vector<double> outside = larger(larger(low - position, position - high), Vector<double>{});
      bounds.parts[part] += outside * outside;
    }
  }
  return bounds;
}

// The queries, one bit each, whose rows something with these bounds and no lower index than `least` could enter.
GRIDLESS_INLINE uint32_t reaching(const Bounds& bounds, int64_t least, const Limits& limits) {
  uint32_t bits = 0;
  for (int part = 0; part < kQueryParts; ++part) {
    const Vector<double> limit = load<double>(limits.squared + part * kLanes);
    const Mask tie = equal(bounds.parts[part], limit) &
                     less(Integers<double>{} + least, load(limits.indices + part * kLanes));
    bits |= bits_of(less(bounds.parts[part], limit) | tie) << (part * kLanes);
  }
  return bits;
}

GRIDLESS_INLINE uint32_t nearer(const Bounds& one, const Bounds& other) {
  uint32_t bits = 0;
  for (int part = 0; part < kQueryParts; ++part)
    bits |= bits_of(less(one.parts[part], other.parts[part])) << (part * kLanes);
  return bits;
}

// The points of a leaf, for each of the queries that reach it.
template <class T, int Dim>
GRIDLESS_INLINE void scan(const TreeNodes<T>& tree, int64_t leaf, uint32_t reached, Packet& packet, TakePoints take) {
  const int dim = Dim > 0 ? Dim : tree.dim;
  const T* points = tree.points + leaf * dim * kLeafPoints;
  Vector<double> coordinates[Dim > 0 ? Dim * kPointParts : 1];
  for (int part = 0; part < Dim * kPointParts; ++part) coordinates[part] = load_doubles(points + part * kLanes);
  for (; reached; reached &= reached - 1) {
    const int query = __builtin_ctz(reached);
    Vector<double> squared[kPointParts] = {};
    for (int axis = 0; axis < dim; ++axis) {
      const Vector<double> position = broadcast(packet.positions[axis * kPacketQueries + query]);
      for (int part = 0; part < kPointParts; ++part) {
        const int place = axis * kPointParts + part;
        const Vector<double> difference =
            position - (Dim > 0 ? coordinates[Dim > 0 ? place : 0] : load_doubles(points + place * kLanes));
        squared[part] += difference * difference;
      }
    }
    const Vector<double> limit = broadcast(packet.limits.squared[query]);
    uint32_t entering = 0;
    for (int part = 0; part < kPointParts; ++part)
      entering |= bits_of(less(squared[part], limit) | equal(squared[part], limit)) << (part * kLanes);
    if (!entering) continue;
    alignas(64) double stored[kLeafPoints];
    for (int part = 0; part < kPointParts; ++part) store<double>(stored + part * kLanes, squared[part]);
    take(packet, query, stored, tree.indices + leaf * kLeafPoints, entering);
  }
}

template <class T, int Dim>
void walk(const TreeNodes<T>& tree, const CloudNodes& cloud, Packet& packet, TakePoints take) {
  struct Postponed {
    Bounds bounds;
    int64_t node, least;
  };
  Postponed stack[kMostLevels];
  int height = 0;
  int64_t node = 0;
  uint32_t reached = reaching(Bounds{}, -1, packet.limits);  // all that there are
  for (;;) {
    while (reached && node < cloud.num_inner) {
      const int64_t place = cloud.first_node + node;
      const T* box = tree.boxes + place * 4 * (Dim > 0 ? Dim : tree.dim);
      const int64_t* least = tree.least + 2 * place;
      const Bounds left = bounds_of_child<T, Dim>(tree.dim, box, 0, packet.positions);
      const Bounds right = bounds_of_child<T, Dim>(tree.dim, box, 1, packet.positions);
      const uint32_t to_left = reaching(left, least[0], packet.limits);
      const uint32_t to_right = reaching(right, least[1], packet.limits);
      // Most queries' nearer child first.
      const bool right_first = __builtin_popcount(nearer(right, left) & to_right) >
                               __builtin_popcount(nearer(left, right) & to_left);
      if (right_first ? to_left : to_right)
        stack[height++] = {right_first ? left : right, 2 * node + 1 + !right_first, least[!right_first]};
      reached = right_first ? to_right : to_left;
      node = 2 * node + 1 + right_first;
    }
    if (reached) scan<T, Dim>(tree, cloud.first_leaf + node - cloud.num_inner, reached, packet, take);
    do {
      if (height == 0) return;
      --height;
      reached = reaching(stack[height].bounds, stack[height].least, packet.limits);
    } while (!reached);
    node = stack[height].node;
  }
}

template <class T>
void walk_any(const TreeNodes<T>& tree, const CloudNodes& cloud, Packet& packet, TakePoints take) {
  switch (tree.dim) {
    case 1: return walk<T, 1>(tree, cloud, packet, take);
    case 2: return walk<T, 2>(tree, cloud, packet, take);
    case 3: return walk<T, 3>(tree, cloud, packet, take);
    case 4: return walk<T, 4>(tree, cloud, packet, take);
    default: return walk<T, 0>(tree, cloud, packet, take);
  }
}

// Which places of a sorted row come after a point; ties are broken by index.
template <bool Ties>
GRIDLESS_INLINE Mask after(Vector<double> distance, Integers<double> source, Vector<double> distances,
                           Integers<double> sources) {
  if constexpr (Ties) return less(distance, distances) | (equal(distance, distances) & less(source, sources));
  return less(distance, distances);
}

// Into all places at once: what comes after the point moves up by one, the last is lost.
template <bool Ties, int Parts>
GRIDLESS_INLINE void insert(Vector<double> distance, Integers<double> source, Vector<double>* distances,
                            Integers<double>* sources) {
  for (int part = Parts - 1; part >= 0; --part) {
    const int before = part > 0 ? part - 1 : 0;
    const Vector<double> distances_up = moved_up(part > 0 ? distances[before] : broadcast(-1.0), distances[part]);
    const Integers<double> sources_up = moved_up(sources[before], sources[part]);
    const Mask stays_after = after<Ties>(distance, source, distances_up, sources_up);
    const Mask comes_after = after<Ties>(distance, source, distances[part], sources[part]);
    sources[part] = choose(comes_after, choose(stays_after, sources_up, source), sources[part]);
    distances[part] = smaller(distances[part], larger(distances_up, distance));
  }
}

template <int Width>
void take_sorted(Packet& packet, int query, const double* squared, const int64_t* indices, uint32_t entering) {
  constexpr int kParts = Width / kLanes;
  const SortedRows& rows = *static_cast<const SortedRows*>(packet.rows);
  double* const row_squared = rows.squared + query * Width;
  int64_t* const row_indices = rows.indices + query * Width;
  Vector<double> distances[kParts];
  Integers<double> sources[kParts];
  for (int part = 0; part < kParts; ++part) {
    distances[part] = load<double>(row_squared + part * kLanes);
    sources[part] = load(row_indices + part * kLanes);
  }
  for (; entering; entering &= entering - 1) {
    const int place = __builtin_ctz(entering);
    const Vector<double> distance = broadcast(squared[place]);
    const Integers<double> source = Integers<double>{} + indices[place];
    Mask ties = {};
    for (int part = 0; part < kParts; ++part) ties |= equal(distance, distances[part]);
    if (bits_of(ties)) insert<true, kParts>(distance, source, distances, sources);
    else insert<false, kParts>(distance, source, distances, sources);
  }
  for (int part = 0; part < kParts; ++part) {
    store<double>(row_squared + part * kLanes, distances[part]);
    store(row_indices + part * kLanes, sources[part]);
  }
  packet.limits.squared[query] = row_squared[rows.k - 1];
  packet.limits.indices[query] = row_indices[rows.k - 1];
}

// Narrow vectors gain nothing by it.
template <int Width>
constexpr TakePoints take_sorted_by_vectors() {
  if constexpr (kLanes > 2 && Width / kLanes <= 8) return &take_sorted<Width>;
  return nullptr;
}

TakePoints take_sorted_of(int64_t width) {
  switch (width) {
    case 8: return take_sorted_by_vectors<8>();
    case 16: return take_sorted_by_vectors<16>();
    case 32: return take_sorted_by_vectors<32>();
    case 64: return take_sorted_by_vectors<64>();
    default: return nullptr;
  }
}

}  // namespace

const SearchKernels<float> search_kernels_float{kQueries, &walk_any<float>, &take_sorted_of};
const SearchKernels<double> search_kernels_double{kQueries, &walk_any<double>, &take_sorted_of};

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

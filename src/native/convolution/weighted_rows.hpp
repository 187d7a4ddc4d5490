// The pair loop of a problem without weights: H = 1 and C_row = C, with φ given. Rows are often short, three pairs where
// features are interpolated, so nothing is copied or kept between the pairs.
#pragma once

#include "convolution/pair_problem.hpp"
#include "convolution/prefetching.hpp"
#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

constexpr int64_t kSlotsTogether = 256;  // a sum of more numbers, one after the other, loses digits

// Channels c … c + VECTORS vectors of one row's sum; the last vector has `tail` lanes.
template <class T, int VECTORS>
GRIDLESS_INLINE void sum_slots(const PairProblem<T>& problem, const T* phi, int64_t begin, int64_t end, int c, int tail,
                               T* row_sums) {
  constexpr int kLanes = kVectorLanes<T>, kLast = VECTORS - 1;
  const T* features = static_cast<const T*>(problem.column_features) + c;
  Vector<T> sums[VECTORS] = {};
  for (int64_t first = begin; first < end; first += kSlotsTogether) {
    const int64_t last = end - first < kSlotsTogether ? end : first + kSlotsTogether;
    Vector<T> part[VECTORS] = {};
    for (int64_t slot = first; slot < last; ++slot) {
      const T* from = features + problem.columns[slot] * problem.channels;
      const T scale = phi[slot - begin];
#pragma GCC unroll 4
      for (int v = 0; v < kLast; ++v) part[v] += scale * load<T>(from + v * kLanes);
      part[kLast] += scale * load_lanes<T>(from + kLast * kLanes, tail);
    }
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) sums[v] += part[v];
  }
#pragma GCC unroll 4
  for (int v = 0; v < kLast; ++v) store<T>(row_sums + c + v * kLanes, sums[v]);
  store_lanes<T>(row_sums + c + kLast * kLanes, sums[kLast], tail);
}

// to (+)= scale · values
template <class T>
GRIDLESS_INLINE void send(int channels, T scale, const T* values, T* to, bool accumulate) {
  constexpr int kLanes = kVectorLanes<T>;
  int c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vector<T> message = scale * load<T>(values + c);
    store<T>(to + c, accumulate ? load<T>(to + c) + message : message);
  }
  if (c == channels) return;
  const int rest = channels - c;
  const Vector<T> message = scale * load_some<T>(values + c, rest);
  store_some<T>(to + c, accumulate ? load_some<T>(to + c, rest) + message : message, rest);
}

template <class T>
GRIDLESS_INLINE T dot(int channels, const T* a, const T* b) {
  constexpr int kLanes = kVectorLanes<T>;
  Vector<T> sums = {};
  int c = 0;
  for (; c + kLanes <= channels; c += kLanes) sums += load<T>(a + c) * load<T>(b + c);
  if (c < channels) sums += load_some<T>(a + c, channels - c) * load_some<T>(b + c, channels - c);
  return sum_of_lanes<T>(sums);
}

template <class T>
void run_weighted_rows(const PairProblem<T>& problem, const PairTask<T>& task) {
  constexpr int64_t kSlotsAhead = 32;  // whose features and sums are on their way
  const int channels = problem.channels;
  const int64_t end_slot = problem.offsets[task.last_row];
  const auto ahead = [&](int64_t slot) { return slot + kSlotsAhead < end_slot ? slot + kSlotsAhead : end_slot; };
  for (int64_t row = task.first_row; row < task.last_row; ++row) {
    const int64_t begin = problem.offsets[row], end = problem.offsets[row + 1];
    const int64_t first = begin - task.block_slot, place = (row - task.block_row) * channels;
    prefetch_slots(problem, ahead(begin), ahead(end), task.row_sums || task.grad_phi,
                   task.at_columns ? task.messages : nullptr);
    if (task.row_sums) {
      for_groups_of_vectors<T>(channels, [&](auto vectors, int c, int tail) {
        sum_slots<T, vectors.value>(problem, task.phi + first, begin, end, c, tail, task.row_sums + place);
      });
    }
    for (int64_t slot = begin; slot < end && (task.messages || task.grad_phi); ++slot) {
      const T* values = task.row_values + place;
      const int64_t column = problem.columns[slot], block_slot = slot - task.block_slot;
      if (task.messages) {
        T* to = task.messages + (task.at_columns ? column * channels : block_slot * problem.padded_channels);
        send(channels, task.phi[block_slot], values, to, task.at_columns);
      }
      if (task.grad_phi)
        task.grad_phi[block_slot] = dot(channels, values, static_cast<const T*>(problem.column_features) + column * channels);
    }
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

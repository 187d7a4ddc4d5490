// What the pair loop reads at places that no hardware foresees, on its way beforehand.
#pragma once

#include "convolution/pair_problem.hpp"
#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

constexpr int64_t kNearBytes = 1 << 20;  // so much of what columns hold stays in the second-level cache anyway

// What these slots read of their columns, while earlier ones are computed.
template <class T>
GRIDLESS_INLINE void prefetch_slots(const PairProblem<T>& problem, int64_t first_slot, int64_t end_slot,
                                    bool needs_features, const T* column_sums) {
  const int64_t bytes = problem.channels * (problem.feature_type == FeatureType::bfloat16 ? 2 : int64_t{sizeof(T)});
  const int64_t position_bytes = problem.dim * (problem.double_positions ? 8 : 4);
  if (problem.num_columns * (bytes + position_bytes) < kNearBytes) return;
  const char* features = static_cast<const char*>(problem.column_features);
  const char* positions = static_cast<const char*>(problem.column_positions);
  for (int64_t slot = first_slot; slot < end_slot; ++slot) {
    const int64_t column = problem.columns[slot];
    if (problem.num_layers > 0) prefetch(positions + column * position_bytes);
    for (int64_t byte = 0; needs_features && byte < bytes; byte += kCacheLine)
      prefetch(features + column * bytes + byte);
    for (int c = 0; column_sums && c < problem.channels; c += kCacheLine / static_cast<int>(sizeof(T)))
      prefetch(column_sums + column * problem.channels + c);
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

// The pair loop (pair_problem.hpp), compiled once for each instruction set.
#include <cstddef>

#include "convolution/packed_products.hpp"
#include "convolution/pair_problem.hpp"
#include "convolution/prefetching.hpp"
#include "convolution/tile_kernel.hpp"
#include "convolution/tile_products.hpp"
#include "convolution/weighted_rows.hpp"
#include "simd.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {
namespace {

// Consecutive slots of one row within a tile.
struct Segment {
  int64_t row;
  int begin, end;     // slots of the tile
  bool first, last;   // of its row
};

template <class T>
struct Scratch {
  KernelTile<T> kernel;
  T* grad_phi;     // [H, kTileRow]
  T* features;     // [segment, padded C]
  T* messages;     // [segment, padded C], where they go to their columns at once
  T* transposed;   // [padded C, kTileRow]
  T* row_values;   // [padded C], depthwise

  // P and T of a panel of rows [rows, H, C] that begins at panel_row; of one row [H, padded C] for depthwise kernels.
  T* aggregated;
  T* transformed;
  int64_t panel_row;
};

template <class T>
Scratch<T> lay_out(const PairProblem<T>& problem, T* memory) {
  Scratch<T> scratch;
  const int64_t padded = problem.padded_channels;
  memory = lay_out<T>(problem, scratch.kernel, memory);
  const auto take = [&memory](int64_t numbers) {
    T* begin = memory;
    memory += numbers;
    return begin;
  };
  scratch.grad_phi = take(static_cast<int64_t>(problem.width) * kTileRow);
  scratch.features = take(kTileSlots * padded);
  scratch.messages = take(kTileSlots * padded);
  scratch.transposed = take(padded * kTileRow);
  scratch.row_values = take(padded);
  scratch.aggregated = take(panel_numbers(problem));
  scratch.transformed = take(panel_numbers(problem));
  scratch.panel_row = 0;
  return scratch;
}

template <class T>
GRIDLESS_INLINE void add(int width, const T* values, T* sums) {
  int c = 0;
  for (; c + kVectorLanes<T> <= width; c += kVectorLanes<T>) store<T>(sums + c, load<T>(sums + c) + load<T>(values + c));
  if (c < width) store_some<T>(sums + c, load_some<T>(sums + c, width - c) + load_some<T>(values + c, width - c), width - c);
}

// Features of consecutive slots, [slots, padded C].
template <class T>
void load_features(const PairProblem<T>& problem, int64_t first_slot, int num_slots, T* to) {
  const int channels = problem.channels, padded = problem.padded_channels;
  const int64_t* columns = problem.columns + first_slot;
  if (problem.feature_type == FeatureType::bfloat16) {
    const auto* features = static_cast<const uint16_t*>(problem.column_features);
    for (int slot = 0; slot < num_slots; ++slot, to += padded) {
      const uint16_t* from = features + columns[slot] * channels;
      for (int c = 0; c < channels; ++c) {
        const uint32_t bits = static_cast<uint32_t>(from[c]) << 16;
        float value;
        __builtin_memcpy(&value, &bits, sizeof value);
        to[c] = static_cast<T>(value);
      }
      for (int c = channels; c < padded; ++c) to[c] = 0;
    }
    return;
  }
  const T* features = static_cast<const T*>(problem.column_features);
  const int whole = channels / kVectorLanes<T> * kVectorLanes<T>, rest = channels - whole;
  for (int slot = 0; slot < num_slots; ++slot, to += padded) {
    const T* from = features + columns[slot] * channels;
    for (int c = 0; c < whole; c += kVectorLanes<T>) store<T>(to + c, load<T>(from + c));
    if (rest) store<T>(to + whole, load_some<T>(from + whole, rest));
    for (int c = whole + (rest ? kVectorLanes<T> : 0); c < padded; c += kVectorLanes<T>) store<T>(to + c, Vector<T>{});
  }
}

// φ that somebody else has evaluated, [slots, H], as a tile.
template <class T>
void load_phi(const PairProblem<T>& problem, const T* phi, int num_slots, T* tile) {
  for (int slot = 0; slot < num_slots; ++slot) {
    for (int h = 0; h < problem.width; ++h) tile[h * kTileRow + slot] = phi[int64_t{slot} * problem.width + h];
  }
}

// The row of a depthwise problem that is at hand: T = depthwise · row value.
template <class T>
void begin_depthwise_row(const PairProblem<T>& problem, const PairTask<T>& task, int64_t row, Scratch<T>& scratch) {
  if (!task.row_values) return;
  const int padded = problem.padded_channels;
  const T* values = task.row_values + (row - task.block_row) * problem.channels;
  for (int c = 0; c < padded; ++c) scratch.row_values[c] = c < problem.channels ? values[c] : 0;
  for (int h = 0; h < problem.width; ++h) {
    for (int c = 0; c < padded; c += kVectorLanes<T>) {
      const int64_t place = int64_t{h} * padded + c;
      store<T>(scratch.transformed + place, load<T>(problem.depthwise + place) * load<T>(scratch.row_values + c));
    }
  }
}

template <class T>
void end_depthwise_row(const PairProblem<T>& problem, const PairTask<T>& task, int64_t row, Scratch<T>& scratch) {
  const int padded = problem.padded_channels;
  for (int c = 0; c < padded; c += kVectorLanes<T>) {
    const Vector<T> value = task.depthwise_gradients ? load<T>(scratch.row_values + c) : Vector<T>{};
    Vector<T> sum = {};
    for (int h = 0; h < problem.width; ++h) {
      const int64_t place = int64_t{h} * padded + c;
      const Vector<T> aggregated = load<T>(scratch.aggregated + place);
      sum += load<T>(problem.depthwise + place) * aggregated;
      if (task.depthwise_gradients) {
        T* gradient = task.depthwise_gradients + place;
        store<T>(gradient, load<T>(gradient) + value * aggregated);
      }
    }
    if (task.row_sums) {
      T* to = task.row_sums + (row - task.block_row) * problem.channels + c;
      const int lanes = problem.channels - c;
      if (lanes >= kVectorLanes<T>) store<T>(to, sum);
      else if (lanes > 0) store_some<T>(to, sum, lanes);
    }
  }
}

template <class T>
bool aggregates(const PairTask<T>& task) {
  return task.aggregated || task.row_sums || task.weight_gradient || task.depthwise_gradients;
}

template <class T>
void write_empty_row(const PairProblem<T>& problem, const PairTask<T>& task, int64_t row, Scratch<T>& scratch) {
  if (!problem.depthwise && aggregates(task)) {
    const int64_t size = int64_t{problem.width} * problem.channels;
    T* to = scratch.aggregated + (row - scratch.panel_row) * size;
    __builtin_memset(to, 0, sizeof(T) * static_cast<std::size_t>(size));
  }
  if (problem.depthwise && task.row_sums) {
    T* to = task.row_sums + (row - task.block_row) * problem.channels;
    __builtin_memset(to, 0, sizeof(T) * static_cast<std::size_t>(problem.channels));
  }
}

template <class T>
void contract_segment(const PairProblem<T>& problem, const PairTask<T>& task, const Segment& segment,
                      int64_t tile_slot, Scratch<T>& scratch) {
  const int width = problem.width, channels = problem.channels, padded = problem.padded_channels;
  const int num_slots = segment.end - segment.begin;
  const int64_t first_slot = tile_slot + segment.begin;
  const T* phi = scratch.kernel.phi(problem) + segment.begin;
  const bool depthwise = problem.depthwise != nullptr;
  const int unit_row = depthwise ? padded : channels;
  const int64_t place = depthwise ? 0 : (segment.row - scratch.panel_row) * width * channels;
  const T* transformed = scratch.transformed + place;
  if (depthwise && segment.first) begin_depthwise_row(problem, task, segment.row, scratch);
  if (aggregates(task) || task.pull_back) load_features(problem, first_slot, num_slots, scratch.features);
  if (aggregates(task)) {
    product<T, kTileRow>(width, unit_row, num_slots, phi, kTileRow, 1, scratch.features, padded,
                         scratch.aggregated + place, unit_row, !segment.first);
    if (depthwise && segment.last) end_depthwise_row(problem, task, segment.row, scratch);
  }
  if (task.messages) {
    T* messages = task.at_columns ? scratch.messages : task.messages + (first_slot - task.block_slot) * padded;
    product<T, 1>(num_slots, padded, width, phi, 1, kTileRow, transformed, unit_row, messages, padded, false);
    for (int slot = 0; slot < num_slots && task.at_columns; ++slot)
      add<T>(channels, messages + slot * padded, task.messages + problem.columns[first_slot + slot] * channels);
  }
  if (task.pull_back) {
    transpose(num_slots, whole_groups(channels), scratch.features, padded, scratch.transposed, kTileRow);
    // Whole vectors of slots: what spills over is written again by the next segment, or cleared after the last one.
    const int whole = (num_slots + kVectorLanes<T> - 1) / kVectorLanes<T> * kVectorLanes<T>;
    product<T>(width, whole, channels, transformed, unit_row, 1, scratch.transposed, kTileRow,
               scratch.grad_phi + segment.begin, kTileRow, false);
  }
}

template <class T>
void pull_back_tile(const PairProblem<T>& problem, const PairTask<T>& task, const Segment* segments, int num_segments,
                    int64_t tile_slot, int num_slots, Scratch<T>& scratch) {
  const int64_t block_slot = tile_slot - task.block_slot;
  for (int h = 0; h < problem.width; ++h) {
    for (int slot = num_slots; slot < kTileSlots; ++slot) scratch.grad_phi[h * kTileRow + slot] = 0;
  }
  if (task.grad_phi) {
    for (int slot = 0; slot < num_slots; ++slot) {
      for (int h = 0; h < problem.width; ++h)
        task.grad_phi[(block_slot + slot) * problem.width + h] = scratch.grad_phi[h * kTileRow + slot];
    }
    return;
  }
  const bool to_positions = task.grad_row_positions || task.grad_column_positions;
  const bool to_extents = task.grad_row_extents || task.grad_column_extents;
  const auto column_place = [&](int slot) {
    return task.at_columns ? problem.columns[tile_slot + slot] : block_slot + slot;
  };
  pull_back<T>(problem, scratch.kernel, scratch.grad_phi, task.layer_gradients, task.window_gradient,
               to_positions || to_extents);
  for (int index = 0; index < num_segments && (to_positions || to_extents); ++index) {
    const Segment& segment = segments[index];
    for (int slot = segment.begin; slot < segment.end; ++slot) {
      for (int d = 0; d < problem.dim; ++d) {
        const T gradient = problem.sign * scratch.kernel.gradients[0][d * kTileRow + slot];
        if (task.grad_row_positions) task.grad_row_positions[segment.row * problem.dim + d] += gradient;
        if (task.grad_column_positions) {
          T* place = task.grad_column_positions + column_place(slot) * problem.dim + d;
          *place = task.at_columns ? *place - gradient : -gradient;
        }
      }
      if (!to_extents) continue;
      const T extent = problem.row_extents ? problem.row_extents[segment.row]
                                           : problem.column_extents[problem.columns[tile_slot + slot]];
      const T gradient = replaces_extent(extent) ? 0 : scratch.kernel.squared[slot] / extent;
      if (task.grad_row_extents) task.grad_row_extents[segment.row] += gradient;
      if (task.grad_column_extents) {
        T* place = task.grad_column_extents + column_place(slot);
        *place = task.at_columns ? *place + gradient : gradient;
      }
    }
  }
}

// The slots of consecutive rows, tile by tile.
template <class T>
void run_tiles(const PairProblem<T>& problem, const PairTask<T>& task, int64_t first_row, int64_t last_row,
               Scratch<T>& scratch) {
  const bool needs_features = aggregates(task) || task.pull_back;
  Segment segments[kTileSlots];
  int32_t slot_rows[kTileSlots];
  int64_t row = first_row;
  int64_t slot = problem.offsets[row];
  while (row < last_row) {
    // A tile takes whole rows as long as they fit; only rows longer than a tile are cut.
    const int64_t tile_slot = slot, tile_row = row;
    int num_segments = 0, num_slots = 0;
    while (row < last_row && num_slots < kTileSlots) {
      const int64_t begin = problem.offsets[row], end = problem.offsets[row + 1];
      if (begin == end) {
        write_empty_row(problem, task, row, scratch);
        ++row;
        continue;
      }
      const int64_t remaining = end - slot;
      if (num_slots > 0 && remaining > kTileSlots - num_slots) break;
      const int taken = static_cast<int>(remaining < kTileSlots ? remaining : kTileSlots);
      segments[num_segments++] = {row, num_slots, num_slots + taken, slot == begin, slot + taken == end};
      for (int place = num_slots; place < num_slots + taken; ++place)
        slot_rows[place] = static_cast<int32_t>(row - tile_row);
      num_slots += taken;
      slot += taken;
      if (slot < end) break;
      ++row;
    }
    if (num_slots == 0) break;
    const int64_t end_slot = problem.offsets[last_row];
    prefetch_slots(problem, slot, slot + kTileSlots < end_slot ? slot + kTileSlots : end_slot, needs_features,
                   task.at_columns ? task.messages : nullptr);
    if (problem.num_layers > 0) {
      evaluate<T>(problem, scratch.kernel, tile_slot, slot_rows, tile_row, num_slots, task.pull_back);
    } else {
      load_phi(problem, task.phi + (tile_slot - task.block_slot) * problem.width, num_slots,
               scratch.kernel.phi(problem));
    }
    for (int index = 0; index < num_segments; ++index)
      contract_segment(problem, task, segments[index], tile_slot, scratch);
    if (task.pull_back) pull_back_tile(problem, task, segments, num_segments, tile_slot, num_slots, scratch);
  }
}

template <class T>
void run_panels(const PairProblem<T>& problem, const PairTask<T>& task, Scratch<T>& scratch) {
  const int64_t row_size = int64_t{problem.width} * problem.channels;
  for (int64_t first = task.first_row; first < task.last_row; first += panel_rows(problem)) {
    const int64_t last = first + panel_rows(problem) < task.last_row ? first + panel_rows(problem) : task.last_row;
    const int num_rows = static_cast<int>(last - first);
    const int64_t block_row = first - task.block_row;
    scratch.panel_row = first;
    if (task.aggregated) scratch.aggregated = task.aggregated + block_row * row_size;
    if (task.messages || task.pull_back) {
      packed_product<T>(num_rows, row_size, problem.row_channels, task.row_values + block_row * problem.row_channels,
                        problem.weight_from_rows, scratch.transformed);
    }
    run_tiles(problem, task, first, last, scratch);
    if (task.row_sums) {
      packed_product<T>(num_rows, problem.row_channels, row_size, scratch.aggregated, problem.weight_to_rows,
                        task.row_sums + block_row * problem.row_channels);
    }
    if (task.weight_gradient) {
      const int64_t num_panels = (row_size + kPanelWidth<T> - 1) / kPanelWidth<T>;
      add_transposed_product<T>(task.row_values + block_row * problem.row_channels, problem.row_channels,
                                scratch.aggregated, row_size, num_rows, 0, num_panels, task.weight_gradient,
                                task.gradient_scratch);
    }
  }
}

template <class T>
void run(const PairProblem<T>& problem, const PairTask<T>& task) {
  if (is_weighted_sum(problem)) return run_weighted_rows(problem, task);
  Scratch<T> scratch = lay_out(problem, task.scratch);
  if (task.layer_gradients) begin_lane_sums(problem, scratch.kernel);
  if (problem.depthwise) run_tiles(problem, task, task.first_row, task.last_row, scratch);
  else run_panels(problem, task, scratch);
  if (task.layer_gradients) end_lane_sums(problem, scratch.kernel, task.layer_gradients);
}

constexpr int kScatteredAhead = 12;  // slots, whose numbers are on their way

template <class T>
void scatter(const ScatterLists& lists, int64_t num_tasks, int bucket, const T* values, int64_t value_row, int width,
             T* sums) {
  for (int64_t task = 0; task < num_tasks; ++task) {
    const int64_t* starts = lists.starts + task * (kScatterBuckets + 1);
    for (int64_t place = starts[bucket]; place < starts[bucket + 1]; ++place) {
      const int64_t slot = lists.order[place];
      if (place + kScatteredAhead < starts[bucket + 1]) {
        const int64_t later = lists.order[place + kScatteredAhead];
        prefetch(values + later * value_row);
        prefetch(sums + lists.columns[later] * width);
      }
      add<T>(width, values + slot * value_row, sums + lists.columns[slot] * width);
    }
  }
}

// Channels c … c + VECTORS vectors of one row, the last of which has `tail` lanes.
template <class T, int VECTORS>
GRIDLESS_INLINE void largest_of_slots(const int64_t* columns, int64_t count, const T* features, int channels, int c,
                                      int tail, int64_t* places) {
  constexpr int kLanes = kVectorLanes<T>;
  using Place = decltype(Integers<T>{}[0] + 0);
  Vector<T> best[VECTORS] = {};
  Integers<T> place[VECTORS] = {};
  for (int64_t slot = 0; slot < count; ++slot) {
    const T* from = features + columns[slot] * channels + c;
    const Integers<T> here = Integers<T>{} + static_cast<Place>(slot);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      const Vector<T> value = load_lanes<T>(from + v * kLanes, v < VECTORS - 1 ? kLanes : tail);
      // The first of equal values; NaN is larger than anything.
      const Integers<T> better = slot == 0 ? ~Integers<T>{} : ~(value <= best[v]) & (best[v] == best[v]);
      best[v] = where<T>(better, value, best[v]);
      place[v] = better ? here : place[v];
    }
  }
  for (int v = 0; v < VECTORS; ++v) {
    const int lanes = v < VECTORS - 1 ? kLanes : tail;
    for (int lane = 0; lane < lanes; ++lane) places[c + v * kLanes + lane] = count ? columns[place[v][lane]] : 0;
  }
}

template <class T>
void largest(const int64_t* offsets, const int64_t* columns, int64_t first_row, int64_t last_row, const T* features,
             int channels, int64_t* places) {
  for (int64_t row = first_row; row < last_row; ++row) {
    const int64_t begin = offsets[row], count = offsets[row + 1] - begin;
    for_groups_of_vectors<T>(channels, [&](auto vectors, int c, int tail) {
      largest_of_slots<T, vectors.value>(columns + begin, count, features, channels, c, tail, places + row * channels);
    });
  }
}

}  // namespace

const PairKernels<float> pair_kernels_float{kVectorLanes<float>, kPanelWidth<float>, &run<float>, &scatter<float>,
                                            &add_transposed_product<float>, &largest<float>};
const PairKernels<double> pair_kernels_double{kVectorLanes<double>, kPanelWidth<double>, &run<double>, &scatter<double>,
                                              &add_transposed_product<double>, &largest<double>};

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

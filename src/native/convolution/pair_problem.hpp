// What the pair loop works on: plain data, shared by the copies that are compiled for different instruction sets.
//
//   P[row, h, c] = Σ_slots φ[slot, h] f[column(slot), c]              aggregated
//   s[row, o]    = Σ_hc P[row, h, c] W[h, c, o]                       row sums
//   T[row, h, c] = Σ_o W[h, c, o] v[row, o]                           row values, transformed
//   m[slot, c]   = Σ_h φ[slot, h] T[row, h, c]                        messages, summed into their columns
//   ∂φ[slot, h]  = Σ_c f[column(slot), c] T[row, h, c]                pulled back through the kernel
//   ∂W[h, c, o]  = Σ_rows P[row, h, c] v[row, o]
//
// Slots are the pairs in the order of their rows. Rows are queries and columns sources, or the other way round. P and T
// exist for a panel of rows at a time, small enough to stay in the second-level cache. A depthwise kernel is
// W[h, c, o] = depthwise[h, c] for c = o and 0 elsewhere. Without W, and with H = 1 and φ given, these are weighted sums:
// W[0, c, o] = 1 for c = o.
#pragma once

#include <cstdint>

#include "kernel_tables.hpp"

namespace gridless {

constexpr int kTileSlots = 64;       // slots whose φ is evaluated together
constexpr int kTileRow = 80;         // numbers from one row of a tile to the next: a tile and some slack
constexpr int kMostVectorLanes = 16;
constexpr int kMaxLayers = 8;
constexpr int kScatterBuckets = 32;  // columns are dealt to this many tasks that sum into them without a race
constexpr int kPanelNumbers = 1 << 17;  // of P and of T that a thread holds: they stay in its second-level cache
constexpr int kTransposeRows = 4;    // features are transposed in groups of so many slots
constexpr int kMostLaneSums = 128;   // vectors of a layer, which stay in the first-level cache beside all else

constexpr int kGradientRows = 64;       // rows that are added to ∂W together
constexpr int kMostPanelVectors = 4;
constexpr int kGradientScratch = kGradientRows * kMostPanelVectors * kMostVectorLanes;

enum class Activation { relu, silu, gelu };
enum class Window { none, gaussian, polynomial };
enum class FeatureType { same, bfloat16 };

// out = activation(weights [num_out, num_in + 1] · [in; 1]).
template <class T>
struct Layer {
  int num_in, num_out;
  const T* weights;
};

template <class T>
struct PairProblem {
  const int64_t* offsets;  // [num_rows + 1]
  const int64_t* columns;  // [slots]
  int64_t num_rows, num_columns;

  int width;     // H
  int channels;  // C
  int padded_channels;
  const void* column_features;  // [num_columns, C]
  FeatureType feature_type;
  const T* depthwise;  // [H, padded C]; null for full kernels

  // Full kernels; both forms of W lie in panels (packed_products.hpp).
  int row_channels;           // C_row
  const T* weight_to_rows;    // [H C, C_row]
  const T* weight_from_rows;  // [C_row, H C]

  // The kernel, where it is evaluated here (num_layers > 0): z = sign · (row position - column position).
  int num_layers;
  Layer<T> layers[kMaxLayers];
  Activation activation;
  int dim;
  const void* row_positions;     // [num_rows, D]
  const void* column_positions;  // [num_columns, D]
  bool double_positions;
  T sign;
  Window window;
  T window_parameter;
  const T* row_extents;     // [num_rows], or
  const T* column_extents;  // [num_columns]; both null without a window
};

// One task's share of one block of rows. Pointers are null where something is not wanted.
template <class T>
struct PairTask {
  int64_t first_row, last_row;    // of this task, half open
  int64_t block_row, block_slot;  // where the block begins; the arrays below hold one block
  const T* phi;                   // [slots, H], for kernels that are evaluated elsewhere
  T* grad_phi;                    // [slots, H], likewise
  T* aggregated;                  // [rows, H, C], to be kept for ∂W
  bool at_columns;                // what is summed into columns is added to them at once: the second shape
  T* messages;                    // [slots, padded C], or [num_columns, C]
  const T* row_values;            // [rows, C_row]
  T* row_sums;                    // [rows, C_row]
  bool pull_back;                 // ∂φ is wanted
  T* layer_gradients;             // sums over this task's slots, [num_in + 1, num_out] each layer
  T* weight_gradient;             // ∂W to add to, in panels, instead of keeping P
  T* gradient_scratch;            // kGradientScratch numbers for that
  T* depthwise_gradients;         // [H, padded C]
  T* window_gradient;             // one vector of partial sums
  T* grad_row_positions;          // [num_rows, D], whole
  T* grad_column_positions;       // [slots, D], to be summed into the columns, or [num_columns, D]
  T* grad_row_extents;            // [num_rows], whole
  T* grad_column_extents;         // [slots], to be summed into the columns, or [num_columns]
  T* scratch;                     // scratch_numbers(problem) of this thread
};

// Values of one block's slots to be added to their columns, dealt into buckets by task.
struct ScatterLists {
  const int64_t* columns;  // of the block's slots
  int64_t* starts;         // [tasks, kScatterBuckets + 1]
  int32_t* order;          // [slots], relative to the block
};

template <class T>
bool is_weighted_sum(const PairProblem<T>& problem) {
  return !problem.depthwise && problem.row_channels == 0;
}

inline int bucket_of(int64_t column) { return static_cast<int>((column >> 4) % kScatterBuckets); }

template <class T>
int64_t num_weights(const Layer<T>& layer) {
  return static_cast<int64_t>(layer.num_out) * (layer.num_in + 1);
}

template <class T>
int64_t num_layer_weights(const PairProblem<T>& problem) {
  int64_t total = 0;
  for (int layer = 0; layer < problem.num_layers; ++layer) total += num_weights(problem.layers[layer]);
  return total;
}

// Sums of a layer's ∂weights that are kept lane by lane (lane_products.hpp): all of a small layer, none of another.
template <class T>
int64_t num_lane_sums(const Layer<T>& layer) {
  return num_weights(layer) <= kMostLaneSums ? num_weights(layer) : 0;
}

template <class T>
int64_t num_lane_sums(const PairProblem<T>& problem) {
  int64_t total = 0;
  for (int layer = 0; layer < problem.num_layers; ++layer) total += num_lane_sums(problem.layers[layer]);
  return total;
}

// Numbers of a row of what transpose() writes.
inline int whole_groups(int rows) { return (rows + kTransposeRows - 1) / kTransposeRows * kTransposeRows; }

template <class T>
int64_t widest_layer(const PairProblem<T>& problem) {
  int64_t widest = problem.dim;
  for (int layer = 0; layer < problem.num_layers; ++layer)
    widest = problem.layers[layer].num_out > widest ? problem.layers[layer].num_out : widest;
  return widest;
}

// Rows whose P and T are at hand together: whole groups of rows of a product, and whole tiles for many usual row lengths.
template <class T>
int64_t panel_rows(const PairProblem<T>& problem) {
  constexpr int64_t kStep = 12, kFewest = 24, kMost = 96;
  const int64_t fitting = kPanelNumbers / (int64_t{problem.width} * problem.channels) / kStep * kStep;
  return fitting < kFewest ? kFewest : fitting > kMost ? kMost : fitting;
}

// Numbers from the start of one panel's P or T to its end, with what is read in whole vectors past it. Depthwise kernels
// have one row of them.
template <class T>
int64_t panel_numbers(const PairProblem<T>& problem) {
  if (problem.depthwise) return int64_t{problem.width + 1} * problem.padded_channels;
  return panel_rows(problem) * problem.width * problem.channels + 2 * kMostVectorLanes;
}

// Numbers of T that one thread needs besides its registers; the parts are laid out in kernels.cpp.
template <class T>
int64_t scratch_numbers(const PairProblem<T>& problem) {
  int64_t rows = 2 * problem.width + 3 * (widest_layer(problem) + 1) + 12 + problem.dim + 2;
  for (int layer = 0; layer < problem.num_layers; ++layer) rows += 2 * problem.layers[layer].num_out + 1;
  const int64_t padded = problem.padded_channels;
  return rows * kTileRow + 2 * kTileSlots * padded + padded * kTileRow + 2 * panel_numbers(problem) + 2 * padded +
         (num_lane_sums(problem) + 64) * kMostVectorLanes;
}

// The same functions for each instruction set.
template <class T>
struct PairKernels {
  int vector_lanes;
  int panel_width;  // columns of W that lie side by side (packed_products.hpp)
  void (*run)(const PairProblem<T>&, const PairTask<T>&);
  void (*scatter)(const ScatterLists&, int64_t num_tasks, int bucket, const T* values, int64_t value_row, int width,
                  T* sums);
  // ∂W += vᵀ P over a block's rows, for some panels of P's columns (packed_products.hpp).
  void (*add_transposed_product)(const T* row_values, int row_channels, const T* aggregated, int64_t row_size,
                                 int64_t num_rows, int64_t first_panel, int64_t last_panel, T* gradient, T* scratch);
  // The column of the largest feature of each row and channel, [num_rows, channels]; 0 for empty rows. Rows must be
  // shorter than 2^31.
  void (*largest)(const int64_t* offsets, const int64_t* columns, int64_t first_row, int64_t last_row,
                  const T* features, int channels, int64_t* places);
};

GRIDLESS_DECLARE_KERNELS(PairKernels, pair_kernels)

}  // namespace gridless

#include "convolution/pair_loop.hpp"

#include <algorithm>
#include <atomic>

#include "compressed_rows.hpp"
#include "parallel.hpp"

namespace gridless {

namespace {

constexpr int64_t kMostTasks = 32;        // of one block: enough for balance, few enough sums to add up
constexpr int64_t kFewestTaskSlots = 256;
constexpr int64_t kPanelsTogether = 4;    // of one task that sums up ∂W
constexpr int64_t kCheckedTogether = 1 << 16;
constexpr std::size_t kAlignment = 64;

GRIDLESS_DEFINE_KERNELS_FOR(PairKernels, pair_kernels)

// Whether all values lie in [0, limit).
bool all_below(const int64_t* values, int64_t count, int64_t limit, int num_threads) {
  std::atomic<bool> good{true};
  const int64_t num_tasks = (count + kCheckedTogether - 1) / kCheckedTogether;
  parallel_for(num_threads, num_tasks, [&](int64_t task, int) {
    const int64_t end = std::min(count, (task + 1) * kCheckedTogether);
    // The highest bit of a value is set where it is negative, that of the difference where it is too large.
    uint64_t bits = 0;
    for (int64_t i = task * kCheckedTogether; i < end; ++i) {
      const auto value = static_cast<uint64_t>(values[i]);
      bits |= value | (static_cast<uint64_t>(limit) - 1 - value);
    }
    if (bits >> 63) good = false;
  });
  return good;
}

}  // namespace

template <class T>
PairLoop<T>::PairLoop(const int64_t* offsets, int64_t num_rows, const int64_t* columns, int64_t num_slots,
                      int64_t num_columns, int width, int channels, int num_threads, int64_t most_copied,
                      InstructionSet instruction_set)
    : kernels_(&kernels_for<T>(instruction_set)),
      num_slots_(num_slots),
      num_threads_(std::max(1, num_threads)),
      most_copied_(most_copied) {
  require_ascending(offsets, num_rows, num_slots);
  require_inside(all_below(columns, num_slots, num_columns, num_threads_), num_columns);
  const int lanes = kernels_->vector_lanes;
  problem_.offsets = offsets;
  problem_.columns = columns;
  problem_.num_rows = num_rows;
  problem_.num_columns = num_columns;
  problem_.width = width;
  problem_.channels = channels;
  problem_.padded_channels = (channels + lanes - 1) / lanes * lanes;
  if (lanes < kTransposeRows) problem_.padded_channels = whole_groups(channels);
}

template <class T>
std::vector<int64_t> PairLoop<T>::cut_into_blocks(int64_t max_rows, int64_t max_slots) const {
  std::vector<int64_t> bounds{0};
  const int64_t* offsets = problem_.offsets;
  while (bounds.back() < problem_.num_rows) {
    const int64_t first = bounds.back();
    const int64_t most = std::min(problem_.num_rows, first + max_rows);
    const int64_t* end = std::upper_bound(offsets + first + 1, offsets + most + 1, offsets[first] + max_slots);
    bounds.push_back(std::max(first + 1, static_cast<int64_t>(end - offsets) - 1));
  }
  return bounds;
}

// How the workspace is cut up.
template <class T>
struct PairLoop<T>::Layout {
  std::size_t scratch, weight_to_rows, weight_from_rows, weight_gradient, gradient_scratch, aggregated, messages,
       column_positions, column_extents, sums, list_starts, list_order, end;
  int64_t scratch_numbers, sums_numbers, max_tasks;
};

template <class T>
typename PairLoop<T>::Layout PairLoop<T>::lay_out(const std::vector<int64_t>& blocks,
                                                  const PairGradients<T>& gradients) const {
  int64_t max_slots = 0, max_rows = 0;
  for (std::size_t block = 0; block + 1 < blocks.size(); ++block) {
    max_rows = std::max(max_rows, blocks[block + 1] - blocks[block]);
    max_slots = std::max(max_slots, problem_.offsets[blocks[block + 1]] - problem_.offsets[blocks[block]]);
  }
  Layout layout{};
  layout.max_tasks = std::clamp<int64_t>(max_slots / kFewestTaskSlots, 1, kMostTasks);
  std::size_t place = 0;
  const auto take = [&place](std::size_t bytes) {
    const std::size_t begin = place;
    place += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  };
  const auto take_numbers = [&take](int64_t numbers) { return take(sizeof(T) * static_cast<std::size_t>(numbers)); };
  const std::size_t numbers_of_lines = kAlignment / sizeof(T);
  const auto whole_lines = [&](int64_t numbers) {
    return static_cast<int64_t>((static_cast<std::size_t>(numbers) + numbers_of_lines - 1) / numbers_of_lines *
                                numbers_of_lines);
  };
  layout.scratch_numbers = whole_lines(gridless::scratch_numbers(problem_));
  layout.scratch = take_numbers(layout.scratch_numbers * num_threads_);
  const int64_t row_channels = problem_.row_channels;
  layout.weight_to_rows = take_numbers(in_panels(row_channels) * panel_width() * row_size());
  layout.weight_from_rows = take_numbers(in_panels(row_size()) * panel_width() * row_channels);
  const bool apart = sums_apart();
  layout.weight_gradient = take_numbers(gradients.weight ? weight_gradient_numbers() * (apart ? num_threads_ : 1) : 0);
  layout.gradient_scratch = take_numbers(gradients.weight ? int64_t{kGradientScratch} * num_threads_ : 0);
  layout.aggregated = take_numbers(gradients.weight && !apart ? max_rows * row_size() + panel_width() : 0);
  const int64_t copies = (num_threads_ - 1) * problem_.num_columns;
  const auto take_for_columns = [&](const T* wanted, int slot_numbers, int column_numbers) {
    return take_numbers(!wanted ? 0 : apart ? copies * column_numbers : max_slots * slot_numbers);
  };
  layout.messages = take_for_columns(gradients.columns, problem_.padded_channels, problem_.channels);
  layout.column_positions = take_for_columns(gradients.column_positions, problem_.dim, problem_.dim);
  layout.column_extents = take_for_columns(gradients.column_extents, 1, 1);
  int64_t sums = gradients.layers.empty() ? 0 : num_layer_weights(problem_);
  sums += gradients.depthwise ? int64_t{problem_.width} * problem_.padded_channels : 0;
  sums += gradients.window ? kernels_->vector_lanes : 0;
  layout.sums_numbers = whole_lines(sums);
  layout.sums = take_numbers(layout.sums_numbers * layout.max_tasks);
  const auto listed = [&](int64_t numbers) {
    return static_cast<std::size_t>(gradients.scatter() && !apart ? numbers : 0);
  };
  layout.list_starts = take(sizeof(int64_t) * listed(layout.max_tasks * (kScatterBuckets + 1)));
  layout.list_order = take(sizeof(int32_t) * listed(max_slots));
  layout.end = place + kAlignment;
  return layout;
}

template <class T>
std::size_t PairLoop<T>::workspace_bytes(const std::vector<int64_t>& blocks, const PairGradients<T>& gradients) const {
  return lay_out(blocks, gradients).end;
}

template <class T>
void PairLoop<T>::start(const std::vector<int64_t>& blocks, const PairGradients<T>& gradients, void* workspace) {
  gradients_ = gradients;
  const Layout layout = lay_out(blocks, gradients);
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(workspace) % kAlignment;
  char* memory = static_cast<char*>(workspace) + (misaligned ? kAlignment - misaligned : 0);
  const auto numbers_at = [memory](std::size_t place) { return reinterpret_cast<T*>(memory + place); };
  scratch_ = numbers_at(layout.scratch);
  weight_to_rows_ = numbers_at(layout.weight_to_rows);
  weight_from_rows_ = numbers_at(layout.weight_from_rows);
  weight_gradient_ = numbers_at(layout.weight_gradient);
  gradient_scratch_ = numbers_at(layout.gradient_scratch);
  aggregated_ = numbers_at(layout.aggregated);
  messages_ = numbers_at(layout.messages);
  column_positions_ = numbers_at(layout.column_positions);
  column_extents_ = numbers_at(layout.column_extents);
  sums_ = numbers_at(layout.sums);
  list_starts_ = reinterpret_cast<int64_t*>(memory + layout.list_starts);
  list_order_ = reinterpret_cast<int32_t*>(memory + layout.list_order);
  scratch_numbers_ = layout.scratch_numbers;
  sums_numbers_ = layout.sums_numbers;
  max_tasks_ = layout.max_tasks;
  std::fill_n(sums_, sums_numbers_ * max_tasks_, T{0});
  if (sums_apart()) {
    const int64_t copies = (num_threads_ - 1) * problem_.num_columns;
    if (gradients.columns) std::fill_n(messages_, copies * problem_.channels, T{0});
    if (gradients.column_positions) std::fill_n(column_positions_, copies * problem_.dim, T{0});
    if (gradients.column_extents) std::fill_n(column_extents_, copies, T{0});
  }
  if (gradients.weight)
    std::fill_n(weight_gradient_, weight_gradient_numbers() * (sums_apart() ? num_threads_ : 1), T{0});
  problem_.weight_to_rows = problem_.weight_from_rows = nullptr;
}

template <class T>
void PairLoop<T>::set_weight(const T* weight, int row_channels) {
  weight_ = weight;
  problem_.row_channels = row_channels;
}

template <class T>
void PairLoop<T>::pack_weight_to_rows() {
  const int64_t columns = problem_.row_channels, depth = row_size(), width = panel_width();
  parallel_for(num_threads_, in_panels(columns), [&](int64_t panel, int) {
    const int64_t first = panel * width, count = std::min(width, columns - first);
    T* to = weight_to_rows_ + first * depth;
    for (int64_t k = 0; k < depth; ++k, to += width) {
      std::copy_n(weight_ + k * columns + first, count, to);
      std::fill(to + count, to + width, T{0});
    }
  });
  problem_.weight_to_rows = weight_to_rows_;
}

template <class T>
void PairLoop<T>::pack_weight_from_rows() {
  const int64_t columns = row_size(), depth = problem_.row_channels, width = panel_width();
  parallel_for(num_threads_, in_panels(columns), [&](int64_t panel, int) {
    const int64_t first = panel * width, count = std::min(width, columns - first);
    T* to = weight_from_rows_ + first * depth;
    for (int64_t k = 0; k < depth; ++k, to += width) {
      for (int64_t column = 0; column < count; ++column) to[column] = weight_[(first + column) * depth + k];
      std::fill(to + count, to + width, T{0});
    }
  });
  problem_.weight_from_rows = weight_from_rows_;
}

// Bounds of consecutive rows with about equally many slots.
template <class T>
std::vector<int64_t> PairLoop<T>::share_rows(int64_t first_row, int64_t last_row, int64_t num_tasks) const {
  const int64_t* offsets = problem_.offsets;
  const int64_t first_slot = offsets[first_row], num_slots = offsets[last_row] - first_slot;
  std::vector<int64_t> bounds{first_row};
  for (int64_t task = 1; task < num_tasks; ++task) {
    const int64_t slot = first_slot + num_slots * task / num_tasks;
    const int64_t row = std::lower_bound(offsets + first_row, offsets + last_row, slot) - offsets;
    bounds.push_back(std::max(bounds.back(), row));
  }
  bounds.push_back(last_row);
  return bounds;
}

template <class T>
void PairLoop<T>::list_columns(int64_t task, int64_t first_slot, int64_t last_slot, int64_t block_slot) {
  int64_t* starts = list_starts_ + task * (kScatterBuckets + 1);
  int64_t counts[kScatterBuckets] = {};
  for (int64_t slot = first_slot; slot < last_slot; ++slot) ++counts[bucket_of(problem_.columns[slot])];
  int64_t place = first_slot - block_slot;
  for (int bucket = 0; bucket < kScatterBuckets; ++bucket) {
    starts[bucket] = place;
    place += counts[bucket];
    counts[bucket] = starts[bucket];
  }
  starts[kScatterBuckets] = place;
  for (int64_t slot = first_slot; slot < last_slot; ++slot)
    list_order_[counts[bucket_of(problem_.columns[slot])]++] = static_cast<int32_t>(slot - block_slot);
}

template <class T>
void PairLoop<T>::run(const PairBlock<T>& block) {
  const int64_t block_slot = problem_.offsets[block.first_row];
  const std::vector<int64_t> rows = share_rows(block.first_row, block.last_row, max_tasks_);
  const int64_t num_layer_sums = gradients_.layers.empty() ? 0 : num_layer_weights(problem_);
  const int64_t num_depthwise_sums = gradients_.depthwise ? int64_t{problem_.width} * problem_.padded_channels : 0;
  const bool transforms = gradients_.columns || gradients_.pull_back();
  if (weight_ && block.row_sums && !problem_.weight_to_rows) pack_weight_to_rows();
  if (weight_ && transforms && !problem_.weight_from_rows) pack_weight_from_rows();

  const bool apart = sums_apart() && (gradients_.scatter() || gradients_.weight);
  const auto run_task = [&](int64_t index, int thread, int64_t group) {
    PairTask<T> task{};
    task.first_row = rows[static_cast<std::size_t>(index)];
    task.last_row = rows[static_cast<std::size_t>(index) + 1];
    task.block_row = block.first_row;
    task.block_slot = block_slot;
    task.phi = block.phi;
    task.grad_phi = block.grad_phi;
    task.aggregated = gradients_.weight && !apart ? aggregated_ : nullptr;
    task.weight_gradient = gradients_.weight && apart ? weight_gradient_ + group * weight_gradient_numbers() : nullptr;
    task.gradient_scratch = gradient_scratch_ + thread * int64_t{kGradientScratch};
    task.row_values = block.row_values;
    task.row_sums = block.row_sums;
    task.at_columns = apart;
    // The first group of tasks adds to the result itself.
    const auto for_columns = [&](T* whole, T* own, int numbers) {
      if (!whole || !apart) return whole ? own : nullptr;
      return group == 0 ? whole : own + (group - 1) * problem_.num_columns * numbers;
    };
    task.messages = for_columns(gradients_.columns, messages_, problem_.channels);
    task.pull_back = gradients_.pull_back();
    T* sums = sums_ + index * sums_numbers_;
    task.layer_gradients = gradients_.layers.empty() ? nullptr : sums;
    task.depthwise_gradients = gradients_.depthwise ? sums + num_layer_sums : nullptr;
    task.window_gradient = gradients_.window ? sums + num_layer_sums + num_depthwise_sums : nullptr;
    task.grad_row_positions = gradients_.row_positions;
    task.grad_column_positions = for_columns(gradients_.column_positions, column_positions_, problem_.dim);
    task.grad_row_extents = gradients_.row_extents;
    task.grad_column_extents = for_columns(gradients_.column_extents, column_extents_, 1);
    task.scratch = scratch_ + thread * scratch_numbers_;
    if (task.first_row < task.last_row) kernels_->run(problem_, task);
    if (gradients_.scatter() && !apart)
      list_columns(index, problem_.offsets[task.first_row], problem_.offsets[task.last_row], block_slot);
  };
  if (apart) {
    // Each group of tasks goes through its rows in order and has sums of its own: no race, and always the same bits.
    parallel_for(num_threads_, num_threads_, [&](int64_t group, int thread) {
      const int64_t end = max_tasks_ * (group + 1) / num_threads_;
      for (int64_t index = max_tasks_ * group / num_threads_; index < end; ++index) run_task(index, thread, group);
    });
    return;
  }
  parallel_for(num_threads_, max_tasks_, [&](int64_t index, int thread) { run_task(index, thread, 0); });
  // A column is in one bucket only and its values come in the order of the slots, and one task sums up its part of ∂W in
  // the order of the rows: no race, and always the same bits.
  const ScatterLists lists{problem_.columns + block_slot, list_starts_, list_order_};
  const int64_t num_panels = gradients_.weight ? in_panels(row_size()) : 0;
  const int64_t num_panel_tasks = (num_panels + kPanelsTogether - 1) / kPanelsTogether;
  const int64_t num_buckets = gradients_.scatter() ? kScatterBuckets : 0;
  parallel_for(num_threads_, num_panel_tasks + num_buckets, [&](int64_t index, int thread) {
    if (index < num_panel_tasks) {
      const int64_t first = index * kPanelsTogether;
      kernels_->add_transposed_product(block.row_values, problem_.row_channels, aggregated_, row_size(),
                                       block.last_row - block.first_row, first,
                                       std::min(num_panels, first + kPanelsTogether), weight_gradient_,
                                       gradient_scratch_ + thread * kGradientScratch);
      return;
    }
    const int bucket = static_cast<int>(index - num_panel_tasks);
    if (gradients_.columns)
      kernels_->scatter(lists, max_tasks_, bucket, messages_, problem_.padded_channels, problem_.channels,
                        gradients_.columns);
    if (gradients_.column_positions)
      kernels_->scatter(lists, max_tasks_, bucket, column_positions_, problem_.dim, problem_.dim,
                        gradients_.column_positions);
    if (gradients_.column_extents)
      kernels_->scatter(lists, max_tasks_, bucket, column_extents_, 1, 1, gradients_.column_extents);
  });
}

template <class T>
void PairLoop<T>::find_largest(int64_t* places) const {
  const int64_t num_tasks = std::clamp<int64_t>(num_slots_ / kFewestTaskSlots, 1, kMostTasks);
  const std::vector<int64_t> rows = share_rows(0, problem_.num_rows, num_tasks);
  parallel_for(num_threads_, num_tasks, [&](int64_t index, int) {
    const auto task = static_cast<std::size_t>(index);
    kernels_->largest(problem_.offsets, problem_.columns, rows[task], rows[task + 1],
                      static_cast<const T*>(problem_.column_features), problem_.channels, places);
  });
}

template <class T>
bool PairLoop<T>::sums_apart() const {
  const int64_t numbers = problem_.num_columns * problem_.channels + weight_gradient_numbers();
  return (num_threads_ - 1) * numbers <= most_copied_;
}

template <class T>
int64_t PairLoop<T>::weight_gradient_numbers() const {
  return in_panels(row_size()) * panel_width() * problem_.row_channels;
}

template <class T>
void PairLoop<T>::add_copies(T* sums, const T* copies, int64_t numbers) {
  if (!sums) return;
  parallel_for(num_threads_, num_threads_, [&](int64_t part, int) {
    const int64_t end = numbers * (part + 1) / num_threads_;
    for (int64_t copy = 0; copy < num_threads_ - 1; ++copy) {
      const T* from = copies + copy * numbers;
      for (int64_t i = numbers * part / num_threads_; i < end; ++i) sums[i] += from[i];
    }
  });
}

template <class T>
void PairLoop<T>::finish() {
  const auto total = [&](int64_t place, int num_lanes = 1) {
    T sum = 0;
    for (int64_t task = 0; task < max_tasks_; ++task) {
      const T* sums = sums_ + task * sums_numbers_ + place;
      for (int lane = 0; lane < num_lanes; ++lane) sum += sums[lane];
    }
    return sum;
  };
  int64_t place = 0;
  for (std::size_t index = 0; index < gradients_.layers.size(); ++index) {
    const Layer<T>& layer = problem_.layers[index];
    for (int in = 0; in <= layer.num_in; ++in) {
      for (int out = 0; out < layer.num_out; ++out)
        gradients_.layers[index][int64_t{out} * (layer.num_in + 1) + in] = total(place++);
    }
  }
  if (gradients_.depthwise) {
    for (int h = 0; h < problem_.width; ++h) {
      for (int c = 0; c < problem_.channels; ++c)
        gradients_.depthwise[int64_t{h} * problem_.channels + c] = total(place + int64_t{h} * problem_.padded_channels + c);
    }
    place += int64_t{problem_.width} * problem_.padded_channels;
  }
  if (gradients_.window) *gradients_.window = total(place, kernels_->vector_lanes);
  if (sums_apart()) {
    add_copies(gradients_.columns, messages_, problem_.num_columns * problem_.channels);
    add_copies(gradients_.column_positions, column_positions_, problem_.num_columns * problem_.dim);
    add_copies(gradients_.column_extents, column_extents_, problem_.num_columns);
  }
  if (!gradients_.weight) return;
  const int64_t depth = problem_.row_channels, width = panel_width();
  if (sums_apart()) add_copies(weight_gradient_, weight_gradient_ + weight_gradient_numbers(), weight_gradient_numbers());
  parallel_for(num_threads_, in_panels(row_size()), [&](int64_t panel, int) {
    const int64_t first = panel * width, count = std::min(width, row_size() - first);
    for (int64_t column = 0; column < count; ++column) {
      const T* from = weight_gradient_ + first * depth + column;
      for (int64_t k = 0; k < depth; ++k) gradients_.weight[(first + column) * depth + k] = from[k * width];
    }
  });
}

template class PairLoop<float>;
template class PairLoop<double>;

}  // namespace gridless

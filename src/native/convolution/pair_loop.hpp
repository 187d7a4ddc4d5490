// The pair loop over all rows of one problem, block by block, in parallel: checks, shares work out, sums up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "convolution/pair_problem.hpp"
#include "instruction_sets.hpp"

namespace gridless {

// Where the derivatives go that are summed over slots; null for what is not wanted.
template <class T>
struct PairGradients {
  T* columns = nullptr;                    // [num_columns, C], added to
  T* row_positions = nullptr;              // [num_rows, D], added to
  T* column_positions = nullptr;           // [num_columns, D], added to
  T* row_extents = nullptr;                // [num_rows], added to
  T* column_extents = nullptr;             // [num_columns], added to
  std::vector<T*> layers;                  // [num_out, num_in + 1] each, written by finish()
  T* weight = nullptr;                     // [H, C, C_row], written by finish()
  T* depthwise = nullptr;                  // [H, C], written by finish()
  T* window = nullptr;                     // [1], written by finish()
  bool phi = false;                        // ∂φ of kernels that are evaluated elsewhere

  // Whether anything is wanted that goes through ∂φ.
  bool pull_back() const {
    return phi || !layers.empty() || window || row_positions || column_positions || row_extents || column_extents;
  }
  // Whether anything is summed over the slots of a column.
  bool scatter() const { return columns || column_positions || column_extents; }
};

// The arrays of one block, see PairTask. Full kernels take row values for gradients, and give row sums where asked.
template <class T>
struct PairBlock {
  int64_t first_row = 0, last_row = 0;
  const T* phi = nullptr;
  T* grad_phi = nullptr;
  const T* row_values = nullptr;
  T* row_sums = nullptr;
};

template <class T>
class PairLoop {
 public:
  // Raises std::out_of_range for columns or offsets that point outside, before anything is computed.
  PairLoop(const int64_t* offsets, int64_t num_rows, const int64_t* columns, int64_t num_slots, int64_t num_columns,
           int width, int channels, int num_threads, int64_t most_copied, InstructionSet instruction_set);

  // Numbers from one row of features, messages and depthwise weights to the next: whole vectors.
  int padded_channels() const { return problem_.padded_channels; }

  PairProblem<T>& problem() { return problem_; }

  // Whether each thread has gradients of columns and of W of its own, to add to as it goes, so that nothing of the size
  // of a block is kept for them: where that takes no more than most_copied numbers. Ask when W is set.
  bool sums_apart() const;

  // W of a full kernel, [H, C, C_row].
  void set_weight(const T* weight, int row_channels);

  // Bounds [num_blocks + 1] of consecutive rows, at most so many rows and, but for longer rows, slots in a block.
  std::vector<int64_t> cut_into_blocks(int64_t max_rows, int64_t max_slots) const;

  // Bytes of memory that start() wants.
  std::size_t workspace_bytes(const std::vector<int64_t>& blocks, const PairGradients<T>& gradients) const;
  void start(const std::vector<int64_t>& blocks, const PairGradients<T>& gradients, void* workspace);
  void run(const PairBlock<T>& block);

  // Column of the largest feature of each row and channel, [num_rows, C]; 0 for empty rows.
  void find_largest(int64_t* places) const;
  void finish();

 private:
  struct Layout;
  Layout lay_out(const std::vector<int64_t>& blocks, const PairGradients<T>& gradients) const;
  std::vector<int64_t> share_rows(int64_t first_row, int64_t last_row, int64_t num_tasks) const;
  int64_t row_size() const { return int64_t{problem_.width} * problem_.channels; }
  int64_t panel_width() const { return kernels_->panel_width; }
  int64_t in_panels(int64_t columns) const { return (columns + panel_width() - 1) / panel_width(); }
  void pack_weight_to_rows();
  void pack_weight_from_rows();
  int64_t weight_gradient_numbers() const;
  void add_copies(T* sums, const T* copies, int64_t numbers);
  void list_columns(int64_t task, int64_t first_slot, int64_t last_slot, int64_t block_slot);

  PairProblem<T> problem_{};
  PairGradients<T> gradients_;
  const PairKernels<T>* kernels_;
  int64_t num_slots_;
  int num_threads_;
  int64_t most_copied_;
  int64_t max_tasks_ = 1;
  const T* weight_ = nullptr;

  // Parts of the workspace.
  T* scratch_ = nullptr;
  int64_t scratch_numbers_ = 0;
  T* weight_to_rows_ = nullptr;
  T* weight_from_rows_ = nullptr;
  T* weight_gradient_ = nullptr;  // in panels, as weight_from_rows
  T* gradient_scratch_ = nullptr;
  T* aggregated_ = nullptr;       // P of a block
  T* messages_ = nullptr;
  T* column_positions_ = nullptr;
  T* column_extents_ = nullptr;
  T* sums_ = nullptr;  // [max_tasks, sums_numbers]
  int64_t sums_numbers_ = 0;
  int64_t* list_starts_ = nullptr;
  int32_t* list_order_ = nullptr;
};

}  // namespace gridless

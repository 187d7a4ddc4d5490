// The pair loop against plain loops over pairs, without Python, so that sanitizers can watch it: `make sanitize`.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "compressed_rows.hpp"
#include "convolution/pair_loop.hpp"

using namespace gridless;

namespace {

constexpr int kThreads = 4;
constexpr int64_t kMostCopied = 1 << 20;
int failures = 0;

std::vector<double> random_numbers(std::mt19937& generator, std::size_t count) {
  std::normal_distribution<double> normal;
  std::vector<double> numbers(count);
  for (double& number : numbers) number = normal(generator);
  return numbers;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& wanted, const char* what) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::abs(got[i] - wanted[i]) <= 1e-10 * (1 + std::abs(wanted[i])))) {
      std::printf("%s: entry %zu is %.17g, not %.17g\n", what, i, got[i], wanted[i]);
      ++failures;
      return;
    }
  }
}

// All rows, block by block; `fill` gives a block its arrays.
template <class Fill>
void run_blocks(PairLoop<double>& loop, const PairGradients<double>& gradients, int64_t max_slots, const Fill& fill) {
  const auto blocks = loop.cut_into_blocks(100, max_slots);
  std::vector<char> workspace(loop.workspace_bytes(blocks, gradients));
  loop.start(blocks, gradients, workspace.data());
  for (std::size_t index = 0; index + 1 < blocks.size(); ++index) {
    PairBlock<double> block;
    block.first_row = blocks[index];
    block.last_row = blocks[index + 1];
    fill(block);
    loop.run(block);
  }
  loop.finish();
}

// Row sums and all gradients of a full kernel with one hidden ReLU layer; threads have sums of their own or share them.
void compare_with_plain_loops(InstructionSet instruction_set, bool apart, const std::vector<int64_t>& counts,
                              int64_t num_columns, int channels, int row_channels, int hidden, int dim) {
  std::mt19937 generator(7);
  std::vector<int64_t> offsets{0};
  for (int64_t count : counts) offsets.push_back(offsets.back() + count);
  const auto num_rows = static_cast<int64_t>(counts.size());
  const int64_t num_slots = offsets.back();
  std::uniform_int_distribution<int64_t> any_column(0, num_columns - 1);
  std::vector<int64_t> columns(static_cast<std::size_t>(num_slots));
  for (int64_t& column : columns) column = any_column(generator);
  const int width = hidden + 1;
  const auto size = [](int64_t a, int64_t b = 1, int64_t c = 1) { return static_cast<std::size_t>(a * b * c); };
  const auto features = random_numbers(generator, size(num_columns, channels));
  const auto row_positions = random_numbers(generator, size(num_rows, dim));
  const auto column_positions = random_numbers(generator, size(num_columns, dim));
  const auto layer_weights = random_numbers(generator, size(hidden, dim + 1));
  const auto weight = random_numbers(generator, size(width, channels, row_channels));
  const auto row_values = random_numbers(generator, size(num_rows, row_channels));

  std::vector<double> transformed(size(num_rows, width, channels)), products(transformed.size());
  for (std::size_t row = 0; row < size(num_rows); ++row) {
    for (std::size_t k = 0; k < size(width, channels); ++k) {
      for (std::size_t o = 0; o < size(row_channels); ++o)
        transformed[row * size(width, channels) + k] += row_values[row * size(row_channels) + o] * weight[k * size(row_channels) + o];
    }
  }
  std::vector<double> wanted_columns(size(num_columns, channels));
  std::vector<double> wanted_layer(size(hidden, dim + 1));
  std::vector<double> wanted_positions(size(num_columns, dim));
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t slot = offsets[size(row)]; slot < offsets[size(row) + 1]; ++slot) {
      const int64_t column = columns[size(slot)];
      for (int h = 0; h < width; ++h) {
        double phi = 1.0;
        if (h < hidden) {
          phi = layer_weights[size(h, dim + 1) + size(dim)];
          for (int d = 0; d < dim; ++d)
            phi += layer_weights[size(h, dim + 1) + size(d)] *
                   (row_positions[size(row, dim) + size(d)] - column_positions[size(column, dim) + size(d)]);
          phi = phi > 0 ? phi : 0;
        }
        double gradient = 0;
        for (int c = 0; c < channels; ++c) {
          const std::size_t product = size(row, width, channels) + size(h, channels) + size(c);
          const double feature = features[size(column, channels) + size(c)];
          products[product] += phi * feature;
          wanted_columns[size(column, channels) + size(c)] += phi * transformed[product];
          gradient += feature * transformed[product];
        }
        if (h == hidden || phi <= 0) continue;
        for (int d = 0; d < dim; ++d) {
          wanted_layer[size(h, dim + 1) + size(d)] +=
              gradient * (row_positions[size(row, dim) + size(d)] - column_positions[size(column, dim) + size(d)]);
          wanted_positions[size(column, dim) + size(d)] -= gradient * layer_weights[size(h, dim + 1) + size(d)];
        }
        wanted_layer[size(h, dim + 1) + size(dim)] += gradient;
      }
    }
  }

  std::vector<double> wanted_sums(size(num_rows, row_channels)), wanted_weight(weight.size());
  for (std::size_t row = 0; row < size(num_rows); ++row) {
    for (std::size_t k = 0; k < size(width, channels); ++k) {
      const double product = products[row * size(width, channels) + k];
      for (std::size_t o = 0; o < size(row_channels); ++o) {
        wanted_sums[row * size(row_channels) + o] += product * weight[k * size(row_channels) + o];
        wanted_weight[k * size(row_channels) + o] += product * row_values[row * size(row_channels) + o];
      }
    }
  }

  PairLoop<double> loop(offsets.data(), num_rows, columns.data(), num_slots, num_columns, width, channels, kThreads,
                        apart ? kMostCopied : -1, instruction_set);
  PairProblem<double>& problem = loop.problem();
  problem.column_features = features.data();
  problem.num_layers = 1;
  problem.layers[0] = {dim, hidden, layer_weights.data()};
  problem.dim = dim;
  problem.row_positions = row_positions.data();
  problem.column_positions = column_positions.data();
  problem.double_positions = true;
  problem.sign = 1;
  loop.set_weight(weight.data(), row_channels);
  if (loop.sums_apart() != apart) {
    std::puts("sums of their own where they were not asked for, or the other way round");
    ++failures;
  }
  std::vector<double> column_gradient(wanted_columns.size()), layer(wanted_layer.size());
  std::vector<double> positions(wanted_positions.size()), sums(wanted_sums.size()), weight_gradient(weight.size());
  PairGradients<double> gradients;
  gradients.columns = column_gradient.data();
  gradients.column_positions = positions.data();
  gradients.layers = {layer.data()};
  gradients.weight = weight_gradient.data();
  run_blocks(loop, gradients, 2000, [&](PairBlock<double>& block) {
    block.row_values = row_values.data() + size(block.first_row, row_channels);
    block.row_sums = sums.data() + size(block.first_row, row_channels);
  });
  expect_close(sums, wanted_sums, "row sums");
  expect_close(weight_gradient, wanted_weight, "weight");
  expect_close(column_gradient, wanted_columns, "columns");
  expect_close(layer, wanted_layer, "layer");
  expect_close(positions, wanted_positions, "positions");
}

// Weighted sums over rows and over columns, inner products of pairs and largest features; threads have sums of their own
// or share them.
void compare_sums(InstructionSet instruction_set, bool apart, const std::vector<int64_t>& counts, int64_t num_columns,
                  int channels) {
  std::mt19937 generator(11);
  std::vector<int64_t> offsets{0}, columns;
  for (int64_t count : counts) offsets.push_back(offsets.back() + count);
  std::uniform_int_distribution<int64_t> any_column(0, num_columns - 1);
  for (int64_t slot = 0; slot < offsets.back(); ++slot) columns.push_back(any_column(generator));
  const std::size_t num_rows = counts.size(), width = static_cast<std::size_t>(channels);
  const auto features = random_numbers(generator, static_cast<std::size_t>(num_columns) * width);
  const auto row_values = random_numbers(generator, num_rows * width);
  const auto weights = random_numbers(generator, columns.size());

  std::vector<double> wanted_sums(num_rows * width), wanted_columns(features.size()), wanted_dots(columns.size());
  std::vector<double> wanted_places(num_rows * width);
  for (std::size_t row = 0; row < num_rows; ++row) {
    for (auto slot = static_cast<std::size_t>(offsets[row]); slot < static_cast<std::size_t>(offsets[row + 1]); ++slot) {
      const auto column = static_cast<std::size_t>(columns[slot]);
      for (std::size_t c = 0; c < width; ++c) {
        wanted_sums[row * width + c] += weights[slot] * features[column * width + c];
        wanted_columns[column * width + c] += weights[slot] * row_values[row * width + c];
        wanted_dots[slot] += row_values[row * width + c] * features[column * width + c];
        double& place = wanted_places[row * width + c];
        const auto best = static_cast<std::size_t>(place);
        if (slot == static_cast<std::size_t>(offsets[row]) || features[column * width + c] > features[best * width + c])
          place = static_cast<double>(column);
      }
    }
  }

  PairLoop<double> loop(offsets.data(), static_cast<int64_t>(num_rows), columns.data(), offsets.back(), num_columns, 1,
                        channels, kThreads, apart ? kMostCopied : -1, instruction_set);
  loop.problem().column_features = features.data();
  std::vector<double> sums(wanted_sums.size()), column_sums(wanted_columns.size()), dots(wanted_dots.size());
  PairGradients<double> gradients;
  gradients.columns = column_sums.data();
  gradients.phi = true;
  run_blocks(loop, gradients, 500, [&](PairBlock<double>& block) {
    const auto first_row = static_cast<std::size_t>(block.first_row);
    block.phi = weights.data() + offsets[first_row];
    block.grad_phi = dots.data() + offsets[first_row];
    block.row_values = row_values.data() + first_row * width;
    block.row_sums = sums.data() + first_row * width;
  });
  std::vector<int64_t> places(num_rows * width);
  loop.find_largest(places.data());
  expect_close(sums, wanted_sums, "weighted sums");
  expect_close(column_sums, wanted_columns, "weighted sums over columns");
  expect_close(dots, wanted_dots, "inner products");
  expect_close({places.begin(), places.end()}, wanted_places, "largest");
}

void refuse_bad_indices() {
  const std::vector<int64_t> offsets{0, 2}, beyond{0, 3}, good{0, 2}, negative{0, -1}, large{0, 3};
  const auto raises = [](const std::vector<int64_t>& rows, const std::vector<int64_t>& columns) {
    try {
      PairLoop<float>(rows.data(), 1, columns.data(), 2, 3, 1, 1, kThreads, kMostCopied, InstructionSet::baseline);
    } catch (const std::exception&) {
      return true;
    }
    return false;
  };
  if (raises(offsets, good) || !raises(offsets, negative) || !raises(offsets, large) || !raises(beyond, good)) {
    std::printf("indices out of range must raise, others not\n");
    ++failures;
  }
}

}  // namespace

int main() {
  for (InstructionSet instruction_set : usable_instruction_sets()) {
    for (bool apart : {true, false}) {
      compare_with_plain_loops(instruction_set, apart, std::vector<int64_t>(700, 16), 300, 24, 40, 17, 3);
      compare_with_plain_loops(instruction_set, apart, {0, 1, 7, 5000, 0, 64, 65, 1, 0}, 40, 67, 3, 5, 2);
      compare_with_plain_loops(instruction_set, apart, {3, 0, 2}, 1, 1, 1, 1, 1);
      compare_with_plain_loops(instruction_set, apart, std::vector<int64_t>(90, 16), 50, 8, 8, 70, 3);
      for (int channels : {1, 3, 8, 40, 67}) {
        compare_sums(instruction_set, apart, std::vector<int64_t>(700, 3), 300, channels);
        compare_sums(instruction_set, apart, {0, 1, 7, 5000, 0, 64, 65, 1, 0}, 40, channels);
      }
    }
  }
  refuse_bad_indices();
  std::puts(failures ? "failed" : "passed");
  return failures != 0;
}

// PairLoopFloat32 and PairLoopFloat64: the pair loop as Python sees it. Arrays come in without copies and are kept alive.
#include "convolution/bindings.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "compressed_rows.hpp"
#include "convolution/pair_loop.hpp"

namespace nb = nanobind;

namespace gridless {
namespace {

using Index = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <class T>
using ConstArray = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

template <class A>
auto* data_of(const std::optional<A>& array) {
  return array ? array->data() : nullptr;
}

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pair loop: ") + what);
}

template <class A>
void require_size(const std::optional<A>& array, int64_t size, const char* what) {
  require(!array || static_cast<int64_t>(array->size()) == size, what);
}

template <class T>
class BoundPairLoop {
 public:
  BoundPairLoop(Index offsets, Index columns, int64_t num_columns, int width, int channels, int num_threads,
                int64_t most_copied, const std::string& instruction_set)
      : offsets_(offsets),
        columns_(columns),
        loop_(checked(offsets).data(), static_cast<int64_t>(offsets.shape(0)) - 1, columns.data(),
              static_cast<int64_t>(columns.shape(0)), num_columns, width, channels, num_threads, most_copied,
              instruction_set_named(instruction_set)) {
    require(width > 0 && channels > 0, "width and channels must be positive");
  }

  int padded_channels() const { return loop_.padded_channels(); }

  // float32 or float64 as the loop, or bfloat16 as the int16 with the same bits.
  void set_features(AnyArray features) {
    PairProblem<T>& problem = loop_.problem();
    require(static_cast<int64_t>(features.size()) == problem.num_columns * problem.channels,
            "features must be [num_columns, channels]");
    require(features.dtype() == nb::dtype<T>() || features.dtype() == nb::dtype<int16_t>(), "features of a wrong dtype");
    problem.feature_type = features.dtype() == nb::dtype<T>() ? FeatureType::same : FeatureType::bfloat16;
    problem.column_features = features.data();
    kept_.emplace_back(features);
  }

  // [H, padded C], zeros in the padding.
  void set_depthwise(ConstArray<T> weight) {
    PairProblem<T>& problem = loop_.problem();
    require(static_cast<int64_t>(weight.size()) == int64_t{problem.width} * problem.padded_channels,
            "depthwise weights must be [width, padded channels]");
    problem.depthwise = weight.data();
    kept_.emplace_back(weight);
  }

  // [H, C, C_row]
  void set_weight(ConstArray<T> weight) {
    const PairProblem<T>& problem = loop_.problem();
    require(weight.ndim() == 3 && static_cast<int>(weight.shape(0)) == problem.width &&
                static_cast<int>(weight.shape(1)) == problem.channels && weight.shape(2) > 0,
            "weights must be [width, channels, row channels]");
    loop_.set_weight(weight.data(), static_cast<int>(weight.shape(2)));
    kept_.emplace_back(weight);
  }

  void set_kernel(const std::string& activation, const std::vector<ConstArray<T>>& layers, AnyArray row_positions,
                  AnyArray column_positions, int sign) {
    PairProblem<T>& problem = loop_.problem();
    require(!layers.empty() && layers.size() <= kMaxLayers, "too few or too many hidden layers");
    require(row_positions.ndim() == 2 && column_positions.ndim() == 2, "positions must have two dimensions");
    require(row_positions.dtype() == column_positions.dtype() &&
                (row_positions.dtype() == nb::dtype<float>() || row_positions.dtype() == nb::dtype<double>()),
            "positions must both be float32 or both float64");
    require(static_cast<int64_t>(row_positions.shape(0)) == problem.num_rows &&
                static_cast<int64_t>(column_positions.shape(0)) == problem.num_columns &&
                row_positions.shape(1) == column_positions.shape(1),
            "positions must be [num_rows, D] and [num_columns, D]");
    if (activation == "relu") problem.activation = Activation::relu;
    else if (activation == "silu") problem.activation = Activation::silu;
    else if (activation == "gelu") problem.activation = Activation::gelu;
    else require(false, "activation must be relu, silu or gelu");
    problem.dim = static_cast<int>(row_positions.shape(1));
    int num_in = problem.dim;
    for (std::size_t index = 0; index < layers.size(); ++index) {
      require(layers[index].ndim() == 2 && static_cast<int>(layers[index].shape(1)) == num_in + 1,
              "each layer must be [num_out, num_in + 1]");
      const int num_out = static_cast<int>(layers[index].shape(0));
      problem.layers[index] = {num_in, num_out, layers[index].data()};
      num_in = num_out;
      kept_.emplace_back(layers[index]);
    }
    require(num_in + 1 == problem.width, "the last layer and the constant must make up the width");
    problem.num_layers = static_cast<int>(layers.size());
    problem.row_positions = row_positions.data();
    problem.column_positions = column_positions.data();
    problem.double_positions = row_positions.dtype() == nb::dtype<double>();
    problem.sign = static_cast<T>(sign);
    kept_.emplace_back(row_positions);
    kept_.emplace_back(column_positions);
  }

  void set_window(const std::string& window, double parameter, ConstArray<T> extents, bool extents_of_rows) {
    PairProblem<T>& problem = loop_.problem();
    if (window == "gaussian") problem.window = Window::gaussian;
    else if (window == "polynomial") problem.window = Window::polynomial;
    else require(false, "window must be gaussian or polynomial");
    require(static_cast<int64_t>(extents.size()) == (extents_of_rows ? problem.num_rows : problem.num_columns),
            "one extent a row or column");
    problem.window_parameter = static_cast<T>(parameter);
    (extents_of_rows ? problem.row_extents : problem.column_extents) = extents.data();
    kept_.emplace_back(extents);
  }

  bool sums_apart() const { return loop_.sums_apart(); }

  std::vector<int64_t> cut_into_blocks(int64_t max_rows, int64_t max_slots) {
    blocks_ = loop_.cut_into_blocks(max_rows, max_slots);
    return blocks_;
  }

  void want(std::optional<Array<T>> columns, std::optional<Array<T>> row_positions,
            std::optional<Array<T>> column_positions, std::optional<Array<T>> row_extents,
            std::optional<Array<T>> column_extents, const std::vector<Array<T>>& layers,
            std::optional<Array<T>> weight, std::optional<Array<T>> depthwise, std::optional<Array<T>> window, bool phi) {
    const PairProblem<T>& problem = loop_.problem();
    require_size(columns, problem.num_columns * problem.channels, "column gradient must be [num_columns, channels]");
    require_size(row_positions, problem.num_rows * problem.dim, "row position gradient must be [num_rows, D]");
    require_size(column_positions, problem.num_columns * problem.dim, "column position gradient must be [num_columns, D]");
    require_size(row_extents, problem.num_rows, "row extent gradient must be [num_rows]");
    require_size(column_extents, problem.num_columns, "column extent gradient must be [num_columns]");
    require_size(weight, int64_t{problem.width} * problem.channels * problem.row_channels,
                 "weight gradient must be [width, channels, row channels]");
    require_size(depthwise, int64_t{problem.width} * problem.channels, "depthwise gradient must be [width, channels]");
    require_size(window, 1, "window gradient must be one number");
    require(layers.empty() || static_cast<int>(layers.size()) == problem.num_layers, "one gradient for each layer");
    gradients_ = {};
    for (std::size_t index = 0; index < layers.size(); ++index) {
      const Layer<T>& layer = problem.layers[index];
      require(static_cast<int64_t>(layers[index].size()) == int64_t{layer.num_out} * (layer.num_in + 1),
              "layer gradient must be [num_out, num_in + 1]");
      gradients_.layers.push_back(layers[index].data());
      kept_.emplace_back(layers[index]);
    }
    gradients_.columns = data_of(columns);
    gradients_.row_positions = data_of(row_positions);
    gradients_.column_positions = data_of(column_positions);
    gradients_.row_extents = data_of(row_extents);
    gradients_.column_extents = data_of(column_extents);
    gradients_.weight = data_of(weight);
    gradients_.depthwise = data_of(depthwise);
    gradients_.window = data_of(window);
    gradients_.phi = phi;
    for (const auto& array : {columns, row_positions, column_positions, row_extents, column_extents, weight, depthwise, window})
      if (array) kept_.emplace_back(*array);
  }

  std::size_t workspace_bytes() const { return loop_.workspace_bytes(blocks_, gradients_); }

  void start(Bytes workspace) {
    require(workspace.size() >= workspace_bytes(), "the workspace is too small");
    kept_.emplace_back(workspace);
    loop_.start(blocks_, gradients_, workspace.data());
    started_ = true;
  }

  void run(int64_t first_row, int64_t last_row, std::optional<ConstArray<T>> phi, std::optional<Array<T>> grad_phi,
           std::optional<ConstArray<T>> row_values, std::optional<Array<T>> row_sums) {
    const PairProblem<T>& problem = loop_.problem();
    require(started_, "start comes before run");
    require(0 <= first_row && first_row <= last_row && last_row <= problem.num_rows, "rows outside the problem");
    require(!is_weighted_sum(problem) || (problem.width == 1 && problem.num_layers == 0), "weights are missing");
    require(!is_weighted_sum(problem) || problem.feature_type == FeatureType::same, "features must have the loop's dtype");
    const int64_t rows = last_row - first_row;
    const int64_t slots = problem.offsets[last_row] - problem.offsets[first_row];
    const int64_t row_channels = problem.row_channels ? problem.row_channels : problem.channels;
    require(phi.has_value() == (problem.num_layers == 0), "φ is given where there are no layers");
    require_size(phi, slots * problem.width, "φ must be [slots, width]");
    require_size(grad_phi, slots * problem.width, "φ's gradient must be [slots, width]");
    require_size(row_values, rows * row_channels, "row values must be [rows, row channels]");
    require_size(row_sums, rows * row_channels, "row sums must be [rows, row channels]");
    const bool weights = gradients_.weight || gradients_.depthwise;
    require(!(gradients_.columns || gradients_.pull_back() || weights) || row_values, "these gradients need row values");
    require(!(row_sums || gradients_.pull_back() || weights) || problem.column_features || problem.num_columns == 0,
            "features are missing");
    PairBlock<T> block;
    block.first_row = first_row;
    block.last_row = last_row;
    block.phi = data_of(phi);
    block.grad_phi = data_of(grad_phi);
    block.row_values = data_of(row_values);
    block.row_sums = data_of(row_sums);
    nb::gil_scoped_release released;
    loop_.run(block);
  }

  void find_largest(Array<int64_t> places) {
    const PairProblem<T>& problem = loop_.problem();
    require(problem.column_features && problem.feature_type == FeatureType::same, "features are missing or bfloat16");
    require(static_cast<int64_t>(places.size()) == problem.num_rows * problem.channels, "places must be [rows, channels]");
    nb::gil_scoped_release released;
    loop_.find_largest(places.data());
  }

  void finish() { loop_.finish(); }

 private:
  static const Index& checked(const Index& offsets) {
    require(offsets.shape(0) >= 1, "offsets must not be empty");
    return offsets;
  }

  Index offsets_, columns_;
  std::vector<nb::ndarray<>> kept_;
  std::vector<int64_t> blocks_;
  PairGradients<T> gradients_;
  PairLoop<T> loop_;
  bool started_ = false;
};

// Arrays that are written to: a copy of another layout or type, which nanobind would make of inputs, would be lost.
auto written(const char* name) { return nb::arg(name).noconvert(); }

auto maybe_written(const char* name) { return written(name).none(); }

template <class T>
void bind(nb::module_& module, const char* name) {
  using Loop = BoundPairLoop<T>;
  nb::class_<Loop>(module, name)
      .def(nb::init<Index, Index, int64_t, int, int, int, int64_t, const std::string&>(), nb::arg("offsets"),
           nb::arg("columns"), nb::arg("num_columns"), nb::arg("width"), nb::arg("channels"), nb::arg("num_threads"),
           nb::arg("most_copied"), nb::arg("instruction_set"))
      .def_prop_ro("padded_channels", &Loop::padded_channels)
      .def("set_features", &Loop::set_features)
      .def("set_depthwise", &Loop::set_depthwise)
      .def("set_weight", &Loop::set_weight)
      .def_prop_ro("sums_apart", &Loop::sums_apart)
      .def("set_kernel", &Loop::set_kernel, nb::arg("activation"), nb::arg("layers"), nb::arg("row_positions"),
           nb::arg("column_positions"), nb::arg("sign"))
      .def("set_window", &Loop::set_window, nb::arg("window"), nb::arg("parameter"), nb::arg("extents"),
           nb::arg("extents_of_rows"))
      .def("cut_into_blocks", &Loop::cut_into_blocks, nb::arg("max_rows"), nb::arg("max_slots"))
      .def("want", &Loop::want, maybe_written("columns") = nb::none(), maybe_written("row_positions") = nb::none(),
           maybe_written("column_positions") = nb::none(), maybe_written("row_extents") = nb::none(),
           maybe_written("column_extents") = nb::none(), written("layers") = std::vector<Array<T>>{},
           maybe_written("weight") = nb::none(), maybe_written("depthwise") = nb::none(),
           maybe_written("window") = nb::none(), nb::arg("phi") = false)
      .def("workspace_bytes", &Loop::workspace_bytes)
      .def("start", &Loop::start, written("workspace"))
      .def("run", &Loop::run, nb::arg("first_row"), nb::arg("last_row"), nb::arg("phi").none() = nb::none(),
           maybe_written("grad_phi") = nb::none(), nb::arg("row_values").none() = nb::none(),
           maybe_written("row_sums") = nb::none())
      .def("find_largest", &Loop::find_largest, written("places"))
      .def("finish", &Loop::finish);
}

using WritableIndex = nb::ndarray<int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void bind_rows(nb::module_& module) {
  module.def(
      "transpose_rows",
      [](Index columns, int64_t num_columns, WritableIndex order, WritableIndex offsets) {
        const auto num_pairs = static_cast<int64_t>(columns.size());
        require(static_cast<int64_t>(order.size()) == num_pairs, "order must be [pairs]");
        require(static_cast<int64_t>(offsets.size()) == num_columns + 1, "offsets must be [num_columns + 1]");
        nb::gil_scoped_release released;
        require_inside(transpose_rows(columns.data(), num_pairs, num_columns, order.data(), offsets.data()), num_columns);
      },
      nb::arg("columns"), nb::arg("num_columns"), written("order"), written("offsets"));
  module.def(
      "order_along_curve",
      [](nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu> positions, WritableIndex order) {
        const auto num_rows = static_cast<int64_t>(positions.shape(0));
        const auto dim = static_cast<int>(positions.shape(1));
        require(static_cast<int64_t>(order.size()) == num_rows, "order must be [rows]");
        const bool wide = positions.dtype() == nb::dtype<double>();
        require(wide || positions.dtype() == nb::dtype<float>(), "positions must be float32 or float64");
        nb::gil_scoped_release released;
        if (wide) order_along_curve(static_cast<const double*>(positions.data()), num_rows, dim, order.data());
        else order_along_curve(static_cast<const float*>(positions.data()), num_rows, dim, order.data());
      },
      nb::arg("positions"), written("order"));
  module.def(
      "reorder_rows",
      [](Index offsets, Index columns, Index order, WritableIndex new_offsets, WritableIndex new_columns,
         int num_threads) {
        const auto num_rows = static_cast<int64_t>(order.size());
        require(static_cast<int64_t>(offsets.size()) == num_rows + 1 && new_offsets.size() == offsets.size(),
                "offsets must be [rows + 1]");
        require(columns.size() == new_columns.size(), "columns must be [pairs]");
        require_ascending(offsets.data(), num_rows, static_cast<int64_t>(columns.size()));
        for (int64_t row = 0; row < num_rows; ++row)
          require(0 <= order.data()[row] && order.data()[row] < num_rows, "order must hold rows");
        nb::gil_scoped_release released;
        reorder_rows(offsets.data(), columns.data(), num_rows, order.data(), new_offsets.data(), new_columns.data(),
                     num_threads);
      },
      nb::arg("offsets"), nb::arg("columns"), nb::arg("order"), written("new_offsets"), written("new_columns"),
      nb::arg("num_threads"));
}

}  // namespace

void bind_convolution(nb::module_& module) {
  bind_rows(module);
  bind<float>(module, "PairLoopFloat32");
  bind<double>(module, "PairLoopFloat64");
}

}  // namespace gridless

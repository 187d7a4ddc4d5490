// φ on one tile of slots, and its gradients: the kernel's hidden layers and the window.
//
// A tile holds a unit's values for kTileSlots slots side by side. Every layer's input ends in a row of ones, which
// carries the layer's bias; the last layer's row of ones is the constant of the basis.
#pragma once

#include "convolution/lane_products.hpp"
#include "convolution/pair_problem.hpp"
#include "convolution/tile_products.hpp"

namespace gridless {
namespace GRIDLESS_INSTRUCTION_SET {

// erfc(t) = e^(-t²) q(y) / (1 + 2t) for t >= 0, with y = (t - 2.5) / (t + 2.5) and q a polynomial fitted at Chebyshev
// nodes: relative error 6e-8 (float) and 2e-15 (double).
template <class T>
struct ErfcCoefficients;
template <>
struct ErfcCoefficients<float> {
  static constexpr float values[11] = {1.26483818f,     -0.122357466f,   -0.0990242417f, 0.157644295f,
                                       -0.102970538f,   0.0326775701f,   0.00094675963f, -0.00418024663f,
                                       0.00046333752f,  0.000405488919f, -6.3917866e-05f};
};
template <>
struct ErfcCoefficients<double> {
  static constexpr double values[23] = {
      1.2648381843668624,      -0.12235676308238272,   -0.099024539573644599,  0.15762991902127274,
      -0.10296705603647782,    0.032760893320228947,   0.00093189277788179763, -0.0043820789726141283,
      0.00049186619682074079,  0.00063212866970978083, -8.8481455506463761e-05, -0.00011354058430559027,
      6.2741955887759445e-06,  2.2749304187160082e-05, 2.5890158173631084e-06, -4.3077222842961145e-06,
      -1.5529041648309104e-06, 6.3515496723796341e-07, 4.9892604478428224e-07, -5.1431451845969452e-08,
      -1.0253406151767369e-07, -1.2957056127521331e-10, 1.0572597658529605e-08};
};

// The normal distribution's Φ(x) and, by the way, e^(-x²/2).
template <class T>
GRIDLESS_INLINE Vector<T> normal_cdf(Vector<T> x, Vector<T>& bell) {
  const Vector<T> zero = {};
  const Integers<T> negative = x < zero;
  // Beyond 64, where Φ is 0 or 1, the divisions would overflow.
  const Vector<T> t = clamp<T>(where<T>(negative, -x, x) * static_cast<T>(0.70710678118654752), 0, 64);
  bell = exponential<T>(-t * t);
  const Vector<T> y = (t - static_cast<T>(2.5)) * reciprocal<T>(t + static_cast<T>(2.5));
  const Vector<T> upper = static_cast<T>(0.5) * bell * polynomial<T>(ErfcCoefficients<T>::values, y) *
                          reciprocal<T>(static_cast<T>(1) + 2 * t);
  return where<T>(negative, upper, static_cast<T>(1) - upper);
}

// activation(x), and activation'(x) in `slope`.
template <class T, Activation ACTIVATION>
GRIDLESS_INLINE Vector<T> activated(Vector<T> x, Vector<T>& slope) {
  if constexpr (ACTIVATION == Activation::silu) {
    const Vector<T> s = reciprocal<T>(static_cast<T>(1) + exponential<T>(-x)), value = x * s;
    slope = s + value * (static_cast<T>(1) - s);
    return value;
  } else {
    static_assert(ACTIVATION == Activation::gelu);
    Vector<T> bell;
    const Vector<T> cdf = normal_cdf<T>(x, bell);
    slope = cdf + x * bell * static_cast<T>(0.3989422804014327);
    return x * cdf;
  }
}

// out = activation(x) for `units` rows of a tile and, with slopes, x = activation'(x).
template <class T, Activation ACTIVATION, bool SLOPES>
inline void activate_units(int units, T* x, T* out) {
  for (int unit = 0; unit < units; ++unit) {
    for (int slot = 0; slot < kTileSlots; slot += kVectorLanes<T>) {
      const int place = unit * kTileRow + slot;
      Vector<T> slope;
      store<T>(out + place, activated<T, ACTIVATION>(load<T>(x + place), slope));
      if (SLOPES) store<T>(x + place, slope);
    }
  }
}

template <class T, Activation ACTIVATION>
inline void activate(int units, bool slopes, T* x, T* out) {
  if (slopes) activate_units<T, ACTIVATION, true>(units, x, out);
  else activate_units<T, ACTIVATION, false>(units, x, out);
}

// gradient *= activation'; `slopes` holds the derivative or, for ReLU, its value.
template <class T>
inline void pull_back_activation(Activation activation, int units, const T* slopes, T* gradient) {
  const Vector<T> zero = {};
  for (int unit = 0; unit < units; ++unit) {
    for (int slot = 0; slot < kTileSlots; slot += kVectorLanes<T>) {
      const int place = unit * kTileRow + slot;
      const Vector<T> slope = load<T>(slopes + place), incoming = load<T>(gradient + place);
      store<T>(gradient + place, activation == Activation::relu ? where<T>(slope > zero, incoming) : incoming * slope);
    }
  }
}

// Where one tile's values lie in the thread's scratch memory.
template <class T>
struct KernelTile {
  T* inputs[kMaxLayers + 1];  // of each layer, [num_in + 1, kTileRow]; the last one is φ
  T* slopes[kMaxLayers];      // of the activation; for ReLU its result, which needs no more
  T* gradients[2];            // two layers' worth
  T* transposed;              // a layer's gradient, [kTileSlots, num_out in whole groups of kTransposeRows]
  T* window;                  // w and, for its gradient, u = |z|² / extent² and the sum of ∂φ · φ before the window
  T* squared;
  T* inverse_extents;         // 1 / extent²
  T* lane_sums[kMaxLayers];   // of ∂weights, [num_out, num_in + 1, lanes]; null where there are none

  T* phi(const PairProblem<T>& problem) const { return inputs[problem.num_layers]; }
};

// Lays out a tile's memory and returns where it ends.
template <class T>
inline T* lay_out(const PairProblem<T>& problem, KernelTile<T>& tile, T* memory) {
  const auto take = [&memory](int64_t rows) {
    T* begin = memory;
    memory += rows * kTileRow;
    return begin;
  };
  if (problem.num_layers == 0) {
    tile.inputs[0] = take(problem.width);
    return memory;
  }
  tile.inputs[0] = take(problem.dim + 1);
  for (int layer = 0; layer < problem.num_layers; ++layer) {
    const int num_out = problem.layers[layer].num_out;
    tile.inputs[layer + 1] = take(num_out + 1);
    tile.slopes[layer] = problem.activation == Activation::relu ? tile.inputs[layer + 1] : take(num_out);
  }
  const int64_t widest = widest_layer(problem);
  for (T*& gradient : tile.gradients) gradient = take(widest + 1);
  tile.transposed = take(whole_groups(static_cast<int>(widest)));
  tile.window = take(1);
  tile.squared = take(1);
  tile.inverse_extents = take(1);
  for (int layer = 0; layer < problem.num_layers; ++layer) {
    const int64_t sums = num_lane_sums(problem.layers[layer]);
    tile.lane_sums[layer] = sums ? memory : nullptr;
    memory += sums * kVectorLanes<T>;
  }
  for (int layer = 0; layer <= problem.num_layers; ++layer) {
    const int num_in = layer < problem.num_layers ? problem.layers[layer].num_in : problem.width - 1;
    T* ones = tile.inputs[layer] + num_in * kTileRow;
    for (int slot = 0; slot < kTileRow; ++slot) ones[slot] = 1;
  }
  return memory;
}

// DIM is the number of dimensions, or 0 where it is not one that loops are unrolled for.
template <class T, class P, int DIM>
inline void load_offsets(const PairProblem<T>& problem, int64_t first_slot, const int32_t* slot_rows, int64_t first_row,
                         int num_slots, T* z) {
  const int dim = DIM ? DIM : problem.dim;
  const P* rows = static_cast<const P*>(problem.row_positions) + first_row * dim;
  const P* columns = static_cast<const P*>(problem.column_positions);
  using Wide = decltype(P{} + T{});
  const T sign = problem.sign;
  for (int slot = 0; slot < num_slots; ++slot) {
    const P* x = rows + slot_rows[slot] * dim;
    const P* y = columns + problem.columns[first_slot + slot] * dim;
    // Subtracted before rounding: far from the origin only that keeps the digits.
    for (int d = 0; d < dim; ++d)
      z[d * kTileRow + slot] = sign * static_cast<T>(static_cast<Wide>(x[d]) - static_cast<Wide>(y[d]));
  }
  for (int d = 0; d < dim; ++d) {
    for (int slot = num_slots; slot < kTileSlots; ++slot) z[d * kTileRow + slot] = 0;
  }
}

template <class T, class P>
inline void load_offsets(const PairProblem<T>& problem, int64_t first_slot, const int32_t* slot_rows, int64_t first_row,
                         int num_slots, T* z) {
  switch (problem.dim) {
    case 2: return load_offsets<T, P, 2>(problem, first_slot, slot_rows, first_row, num_slots, z);
    case 3: return load_offsets<T, P, 3>(problem, first_slot, slot_rows, first_row, num_slots, z);
    default: return load_offsets<T, P, 0>(problem, first_slot, slot_rows, first_row, num_slots, z);
  }
}

// Where all of a support coincides with its query, its extent is 0 and u = 0 whatever the extent is taken to be;
// dividing by next to nothing would overflow in the derivatives. The limit is the fourth root of the smallest number.
template <class T>
GRIDLESS_INLINE bool replaces_extent(T extent) {
  return !(extent > (sizeof(T) == 4 ? static_cast<T>(3.2927225e-10) : static_cast<T>(1.221338669755462e-77)));
}

// 1 / s² of a window exp(-u / 2s²) whose parameter is log s.
template <class T>
inline T gaussian_narrowness(const PairProblem<T>& problem) {
  return exponential<T>(broadcast<T>(-2 * problem.window_parameter))[0];
}

template <class T>
inline void load_window(const PairProblem<T>& problem, KernelTile<T>& tile, int64_t first_slot, const int32_t* slot_rows,
                        int64_t first_row, int num_slots) {
  for (int slot = 0; slot < kTileSlots; ++slot) {
    T extent = 1;
    if (slot < num_slots) {
      extent = problem.row_extents ? problem.row_extents[first_row + slot_rows[slot]]
                                   : problem.column_extents[problem.columns[first_slot + slot]];
    }
    tile.inverse_extents[slot] = replaces_extent(extent) ? 1 : 1 / (extent * extent);
  }
  const T narrowness = gaussian_narrowness(problem);
  for (int slot = 0; slot < kTileSlots; slot += kVectorLanes<T>) {
    Vector<T> squared = {};
    for (int d = 0; d < problem.dim; ++d) {
      const Vector<T> z = load<T>(tile.inputs[0] + d * kTileRow + slot);
      squared += z * z;
    }
    const Vector<T> u = squared * load<T>(tile.inverse_extents + slot);
    Vector<T> w;
    if (problem.window == Window::gaussian) {
      w = exponential<T>(static_cast<T>(-0.5) * narrowness * u);
    } else {
      const Vector<T> zero = {};
      const Vector<T> inside = where<T>(u < broadcast<T>(1), static_cast<T>(1) - u, zero);
      w = inside * inside * inside;
    }
    store<T>(tile.squared + slot, u);
    store<T>(tile.window + slot, w);
  }
}

// out = activation(W in); with `keeps_slopes`, also what pull_back_activation takes.
template <class T>
inline void evaluate_layer(Activation activation, const Layer<T>& layer, const T* in, bool keeps_slopes, T* slopes,
                           T* out) {
  const int depth = layer.num_in + 1;
  if (activation == Activation::relu) {
    product<T, 0, true>(layer.num_out, kTileSlots, depth, layer.weights, depth, 1, in, kTileRow, out, kTileRow, false);
    return;
  }
  product<T>(layer.num_out, kTileSlots, depth, layer.weights, depth, 1, in, kTileRow, slopes, kTileRow, false);
  if (activation == Activation::silu) activate<T, Activation::silu>(layer.num_out, keeps_slopes, slopes, out);
  else activate<T, Activation::gelu>(layer.num_out, keeps_slopes, slopes, out);
}

// φ of `num_slots` slots from `first_slot` on; slot_rows counts from first_row. Unused slots hold finite numbers.
// With `keeps_slopes` it can be pulled back.
template <class T>
inline void evaluate(const PairProblem<T>& problem, KernelTile<T>& tile, int64_t first_slot, const int32_t* slot_rows,
                     int64_t first_row, int num_slots, bool keeps_slopes) {
  T* z = tile.inputs[0];
  if (problem.double_positions) load_offsets<T, double>(problem, first_slot, slot_rows, first_row, num_slots, z);
  else load_offsets<T, float>(problem, first_slot, slot_rows, first_row, num_slots, z);
  for (int index = 0; index < problem.num_layers; ++index) {
    evaluate_layer<T>(problem.activation, problem.layers[index], tile.inputs[index], keeps_slopes, tile.slopes[index],
                      tile.inputs[index + 1]);
  }
  if (problem.window == Window::none) return;
  load_window<T>(problem, tile, first_slot, slot_rows, first_row, num_slots);
  T* phi = tile.phi(problem);
  for (int h = 0; h < problem.width; ++h) {
    T* row = phi + h * kTileRow;
    for (int slot = 0; slot < kTileSlots; slot += kVectorLanes<T>) {
      // The constant 1 is written anew for each tile, as it is overwritten here.
      const Vector<T> value = h == problem.width - 1 ? broadcast<T>(1) : load<T>(row + slot);
      store<T>(row + slot, value * load<T>(tile.window + slot));
    }
  }
}

template <class T>
inline void begin_lane_sums(const PairProblem<T>& problem, KernelTile<T>& tile) {
  for (int index = 0; index < problem.num_layers; ++index) {
    const auto sums = static_cast<std::size_t>(num_lane_sums(problem.layers[index]));
    if (sums) __builtin_memset(tile.lane_sums[index], 0, sums * sizeof(Vector<T>));
  }
}

// Adds them up to the gradients of the layers.
template <class T>
inline void end_lane_sums(const PairProblem<T>& problem, const KernelTile<T>& tile, T* layer_gradients) {
  for (int index = 0; index < problem.num_layers; ++index) {
    const Layer<T>& layer = problem.layers[index];
    const T* sums = tile.lane_sums[index];
    for (int out = 0; sums && out < layer.num_out; ++out) {
      for (int in = 0; in <= layer.num_in; ++in, sums += kVectorLanes<T>)
        layer_gradients[in * layer.num_out + out] += sum_of_lanes<T>(load<T>(sums));
    }
    layer_gradients += num_weights(layer);
  }
}

// Adds to the gradients of layers and window; grad_phi [H, kTileRow] is overwritten and must be 0 in unused slots.
// Leaves ∂z in tile.gradients[0] and ∂extents · extent in tile.squared where `to_positions` asks for them.
template <class T>
inline void pull_back(const PairProblem<T>& problem, KernelTile<T>& tile, T* grad_phi, T* layer_gradients,
                      T* window_gradient, bool to_positions) {
  constexpr int kLanesPerVector = kVectorLanes<T>;
  const bool windowed = problem.window != Window::none;
  T* grad_u = tile.squared;
  if (windowed) {
    const T* phi = tile.phi(problem);
    const T narrowness = gaussian_narrowness(problem);
    for (int slot = 0; slot < kTileSlots; slot += kLanesPerVector) {
      const Vector<T> w = load<T>(tile.window + slot), u = load<T>(tile.squared + slot);
      // Σ_h ∂φ_h · basis_h = ∂w; φ_h = w · basis_h, and where w is 0 nothing of the basis is left to divide by.
      Vector<T> weighted = {};
      for (int h = 0; h < problem.width; ++h) {
        T* gradient = grad_phi + h * kTileRow + slot;
        const Vector<T> incoming = load<T>(gradient);
        weighted += incoming * load<T>(phi + h * kTileRow + slot);
        store<T>(gradient, incoming * w);
      }
      if (problem.window == Window::gaussian) {
        // ∂w/∂u = -w / 2s² and ∂w/∂(log s) = w u / s², so w never has to be divided by.
        if (window_gradient) store<T>(window_gradient, load<T>(window_gradient) + weighted * u * narrowness);
        store<T>(grad_u + slot, static_cast<T>(-0.5) * narrowness * weighted);
      } else {
        // ∂w/∂u = -3 (1 - u)² = -3 w / (1 - u).
        const Vector<T> zero = {};
        const Vector<T> inside = static_cast<T>(1) - u;
        store<T>(grad_u + slot, where<T>(inside > zero, static_cast<T>(-3) * weighted / inside));
      }
    }
  }
  T* gradient = grad_phi;
  for (int index = problem.num_layers - 1; index >= 0; --index) {
    const Layer<T>& layer = problem.layers[index];
    pull_back_activation<T>(problem.activation, layer.num_out, tile.slopes[index], gradient);
    if (layer_gradients && tile.lane_sums[index]) {
      add_lane_products<T>(layer.num_out, layer.num_in + 1, kTileSlots, gradient, kTileRow, tile.inputs[index], kTileRow,
                           tile.lane_sums[index]);
    } else if (layer_gradients) {
      int64_t before_this_layer = 0;
      for (int earlier = 0; earlier < index; ++earlier) before_this_layer += num_weights(problem.layers[earlier]);
      const int row = whole_groups(layer.num_out);
      transpose(layer.num_out, kTileSlots, gradient, kTileRow, tile.transposed, row);
      product<T, kTileRow>(layer.num_in + 1, layer.num_out, kTileSlots, tile.inputs[index], kTileRow, 1,
                           tile.transposed, row, layer_gradients + before_this_layer, layer.num_out, true);
    }
    if (index == 0 && !to_positions) return;
    T* below = tile.gradients[index % 2];
    product<T, 1>(layer.num_in, kTileSlots, layer.num_out, layer.weights, 1, layer.num_in + 1, gradient, kTileRow,
                  below, kTileRow, false);
    gradient = below;
  }
  if (!windowed) return;
  // u = |z|² / extent²: ∂z += 2 z ∂u / extent², and extent · ∂extent = -2 u ∂u.
  for (int slot = 0; slot < kTileSlots; slot += kLanesPerVector) {
    const Vector<T> factor = 2 * load<T>(grad_u + slot) * load<T>(tile.inverse_extents + slot);
    Vector<T> squared = {};
    for (int d = 0; d < problem.dim; ++d) {
      const Vector<T> z = load<T>(tile.inputs[0] + d * kTileRow + slot);
      T* place = tile.gradients[0] + d * kTileRow + slot;
      store<T>(place, load<T>(place) + factor * z);
      squared += z * z;
    }
    store<T>(tile.squared + slot, -factor * squared);
  }
}

}  // namespace GRIDLESS_INSTRUCTION_SET
}  // namespace gridless

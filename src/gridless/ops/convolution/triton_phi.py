"""φ inside the Triton kernels: read from memory, or the kernel network evaluated where it is needed.

What a kernel then reads of a slot is its relative position and its window, D + 1 numbers instead of H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.ops.convolution.kernel import PairInputs
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import Slots
from gridless.ops.dtypes import compute_dtype

_ACTIVATIONS = {"mlp_relu": "relu", "mlp_silu": "silu", "mlp_gelu": "gelu"}
_WIDEST_LAYER = 64
_LAYERS = (1, 2)
# Neurons of a hidden layer at a time: 64 at once spill.
_HIDDEN_TILE = 16


@dataclass(frozen=True)
class Phi:
    """φ of a block's slots as kernels take it.

    Args:
        values: [S, H] φ itself, or [S, D + 1] relative positions and windows.
        network: the network's parameters one after the other; not looked at where φ is given.
        width: H.
        options: constants of the kernels.
    """

    values: Tensor
    network: Tensor
    width: int
    options: dict[str, Any]


def given(values: Tensor) -> Phi:
    """φ [S, H] that has been evaluated already."""
    values = values.contiguous()
    options = {"ACTIVATION": "", "INPUTS": 1, "HIDDEN": 0, "HIDDEN_TILE": _HIDDEN_TILE}
    return Phi(values, values, values.shape[1], options)


def can_evaluate(problem: Problem) -> bool:
    """Whether the kernels know the network: one or two layers, not too wide."""
    parameters = problem.kernel.basis_parameters
    return (
        problem.kernel.basis in _ACTIVATIONS
        and len(parameters) % 2 == 0
        and len(parameters) // 2 in _LAYERS
        and all(len(weight) <= _WIDEST_LAYER for weight in parameters[::2])
    )


def evaluated(problem: Problem, slots: Slots) -> Phi:
    """φ of these slots, evaluated by the kernels."""
    dtype, kernel = compute_dtype(problem.features), problem.kernel
    inputs = slots.gather_phi_inputs(problem.differentiable(), kernel.basis)
    pairs = PairInputs(inputs["source_positions"], inputs["query_positions"], inputs.get("extents"), None)
    z = pairs.relative_positions(dtype)
    window = kernel.to(dtype).window_values(z, pairs.extents)
    window = z.new_ones(len(z)) if window is None else window
    network = torch.cat([parameter.to(dtype).flatten() for parameter in kernel.basis_parameters])
    widths = [z.shape[1], *(len(weight) for weight in kernel.basis_parameters[::2])]
    hidden = widths[1] if len(widths) == 3 else 0
    options = {
        "ACTIVATION": _ACTIVATIONS[kernel.basis],
        "INPUTS": widths[0],
        "HIDDEN": hidden,
        "HIDDEN_TILE": _HIDDEN_TILE,
    }
    return Phi(torch.cat([z, window[:, None]], dim=1), network, widths[-1] + 1, options)


@triton.jit
def _activate(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        y = tl.where(x <= 0, 0.0, x)
    elif ACTIVATION == "silu":
        y = x / (1 + tl.exp(-x))
    else:
        y = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    return y


@triton.jit
def _layer_of_positions(values, network, slot, inside, h, last, INPUTS: tl.constexpr):
    """V z + b of the first layer's neurons h, of which there are ``last``: [SLOTS, len(h)]."""
    exists = h < last
    total = tl.load(network + INPUTS * last + h, exists, 0.0)[None, :]
    for d in tl.static_range(INPUTS):
        z = tl.load(values + slot * (INPUTS + 1) + d, inside, 0.0)
        total += z[:, None] * tl.load(network + h * INPUTS + d, exists, 0.0)[None, :]
    return total


@triton.jit
def phi_tile(
    values, network, slot, inside, h, width,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """φ_eh of slots [SLOTS] and basis functions h [WIDTH], zero where there is none."""
    mask = inside[:, None] & (h < width)[None, :]
    if ACTIVATION == "":
        phi = tl.load(values + slot[:, None] * width + h[None, :], mask, 0.0)
    else:
        last = width - 1
        if HIDDEN == 0:
            phi = _activate(_layer_of_positions(values, network, slot, inside, h, last, INPUTS), ACTIVATION)
        else:
            second = network + (INPUTS + 1) * HIDDEN
            products = tl.zeros((slot.shape[0], h.shape[0]), values.dtype.element_ty)
            for first_k in range(0, HIDDEN, HIDDEN_TILE):
                k = first_k + tl.arange(0, HIDDEN_TILE)
                hidden = _activate(_layer_of_positions(values, network, slot, inside, k, HIDDEN, INPUTS), ACTIVATION)
                exists = (k < HIDDEN)[:, None] & (h < last)[None, :]
                weights = tl.load(second + h[None, :] * HIDDEN + k[:, None], exists, 0.0)
                products = tl.dot(hidden, weights, products, input_precision=PRECISION, out_dtype=products.dtype)
            phi = _activate(products + tl.load(second + last * HIDDEN + h, h < last, 0.0)[None, :], ACTIVATION)
        window = tl.load(values + slot * (INPUTS + 1) + INPUTS, inside, 0.0)
        phi = tl.where(mask, tl.where((h == last)[None, :], 1.0, phi) * window[:, None], 0.0)
    return phi

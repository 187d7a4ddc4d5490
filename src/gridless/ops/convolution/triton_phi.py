"""φ inside the Triton kernels: read from memory, or the kernel network and the window evaluated where they are needed.

What a kernel then reads of a slot are the positions of its row and its column: nothing is kept for a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.windows import NO_WINDOW
from gridless.ops.dtypes import compute_dtype

_ACTIVATIONS = {"mlp_relu": "relu", "mlp_silu": "silu", "mlp_gelu": "gelu"}
_WINDOWS = (NO_WINDOW, "gaussian", "polynomial")
_WIDEST_LAYER = 64
_LAYERS = (1, 2)
# Neurons of a hidden layer at a time: 64 at once spill.
_HIDDEN_TILE = 16


@dataclass(frozen=True)
class Phi:
    """φ of some rows' slots as kernels take it.

    Args:
        tensors: φ [S, H] where it is given; the network's parameters, one after the other; the positions of rows and
            of columns; the extents of queries. What is not looked at stands in for something else.
        width: H.
        options: constants of the kernels.
    """

    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    width: int
    options: dict[str, Any]


def given(values: Tensor) -> Phi:
    """φ [S, H] that has been evaluated already."""
    values = values.contiguous()
    options = _options("", 1, 0, NO_WINDOW, True)
    return Phi((values,) * 5, values.shape[1], options)


def can_evaluate(problem: Problem) -> bool:
    """Whether the kernels know network and window: one or two layers, not too wide."""
    parameters = problem.kernel.basis_parameters
    return (
        problem.kernel.basis in _ACTIVATIONS
        and problem.kernel.window in _WINDOWS
        and len(parameters) % 2 == 0
        and len(parameters) // 2 in _LAYERS
        and all(len(weight) <= _WIDEST_LAYER for weight in parameters[::2])
    )


def evaluated(problem: Problem, rows_are_queries: bool) -> Phi:
    """φ of all pairs, evaluated by the kernels."""
    dtype, kernel = compute_dtype(problem.features), problem.kernel
    # Subtracted before they are rounded, see PairInputs.relative_positions.
    wide = torch.promote_types(problem.query_positions.dtype, dtype)
    sources, queries = (
        positions.to(wide).contiguous() for positions in (problem.source_positions, problem.query_positions)
    )
    network = [parameter.to(dtype).flatten() for parameter in kernel.basis_parameters]
    extents = network[0]
    if kernel.window != NO_WINDOW:
        assert problem.extents is not None
        extents = problem.extents.to(dtype)
        # As in Kernel.window_values.
        extents = torch.where(extents > torch.finfo(dtype).tiny ** 0.25, extents, 1.0)
    if kernel.window == "gaussian":
        network.append(-0.5 * torch.exp(-2.0 * kernel.window_parameters[0].to(dtype)).flatten())
    parameters = torch.cat(network)
    widths = [sources.shape[1], *(len(weight) for weight in kernel.basis_parameters[::2])]
    hidden = widths[1] if len(widths) == 3 else 0
    options = _options(_ACTIVATIONS[kernel.basis], widths[0], hidden, kernel.window, rows_are_queries)
    rows, columns = (queries, sources) if rows_are_queries else (sources, queries)
    return Phi((parameters, parameters, rows, columns, extents), widths[-1] + 1, options)


def _options(activation: str, inputs: int, hidden: int, window: str, rows_are_queries: bool) -> dict[str, Any]:
    return {
        "ACTIVATION": activation,
        "INPUTS": inputs,
        "HIDDEN": hidden,
        "HIDDEN_TILE": _HIDDEN_TILE,
        "WINDOW": window,
        "ROWS_ARE_QUERIES": rows_are_queries,
    }


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
def _relative_position(
    row_positions, column_positions, row, column, inside, d,
    INPUTS: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Coordinate d of z = query − source [SLOTS], subtracted before it is rounded."""
    of_row = tl.load(row_positions + row * INPUTS + d, inside, 0.0)
    of_column = tl.load(column_positions + column * INPUTS + d, inside, 0.0)
    z = of_row - of_column
    return (z if ROWS_ARE_QUERIES else -z).to(SUM)


@triton.jit
def _layer_of_positions(
    network, row_positions, column_positions, row, column, inside, h, last,
    INPUTS: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """V z + b of the first layer's neurons h, of which there are ``last``: [SLOTS, len(h)]."""
    exists = h < last
    total = tl.load(network + INPUTS * last + h, exists, 0.0)[None, :]
    for d in tl.static_range(INPUTS):
        z = _relative_position(row_positions, column_positions, row, column, inside, d, INPUTS, ROWS_ARE_QUERIES, SUM)
        total += z[:, None] * tl.load(network + h * INPUTS + d, exists, 0.0)[None, :]
    return total


@triton.jit
def _window(
    factor, row_positions, column_positions, extents, row, column, inside,
    INPUTS: tl.constexpr, WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """w(|z| / extent) of slots [SLOTS]; ``factor`` points to −1 / 2s² of a Gaussian."""
    squared = tl.zeros(row.shape, SUM)
    for d in tl.static_range(INPUTS):
        z = _relative_position(row_positions, column_positions, row, column, inside, d, INPUTS, ROWS_ARE_QUERIES, SUM)
        squared += z * z
    extent = tl.load(extents + (row if ROWS_ARE_QUERIES else column), inside, 1.0)
    u = squared / (extent * extent)
    if WINDOW == "gaussian":
        window = tl.exp(u * tl.load(factor))
    else:
        inner = tl.where(u < 1, 1 - u, tl.where(u == u, 0.0, u))
        window = inner * inner * inner
    return window


@triton.jit
def phi_tile(
    phi, network, row_positions, column_positions, extents, slot, row, column, inside, h, width,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """φ_eh of slots [SLOTS] and basis functions h [WIDTH], zero where there is none."""
    mask = inside[:, None] & (h < width)[None, :]
    if ACTIVATION == "":
        values = tl.load(phi + slot[:, None] * width + h[None, :], mask, 0.0)
    else:
        last = width - 1
        if HIDDEN == 0:
            values = _activate(
                _layer_of_positions(
                    network, row_positions, column_positions, row, column, inside, h, last,
                    INPUTS, ROWS_ARE_QUERIES, SUM,
                ), ACTIVATION
            )  # fmt: skip
            behind = network + (INPUTS + 1) * last
        else:
            second = network + (INPUTS + 1) * HIDDEN
            products = tl.zeros((slot.shape[0], h.shape[0]), SUM)
            for first_k in range(0, HIDDEN, HIDDEN_TILE):
                k = first_k + tl.arange(0, HIDDEN_TILE)
                hidden = _activate(
                    _layer_of_positions(
                        network, row_positions, column_positions, row, column, inside, k, HIDDEN,
                        INPUTS, ROWS_ARE_QUERIES, SUM,
                    ), ACTIVATION
                )  # fmt: skip
                exists = (k < HIDDEN)[:, None] & (h < last)[None, :]
                weights = tl.load(second + h[None, :] * HIDDEN + k[:, None], exists, 0.0)
                products = tl.dot(hidden, weights, products, input_precision=PRECISION, out_dtype=SUM)
            values = _activate(products + tl.load(second + last * HIDDEN + h, h < last, 0.0)[None, :], ACTIVATION)
            behind = second + (HIDDEN + 1) * last
        values = tl.where((h == last)[None, :], 1.0, values)
        if WINDOW != "none":
            window = _window(
                behind, row_positions, column_positions, extents, row, column, inside,
                INPUTS, WINDOW, ROWS_ARE_QUERIES, SUM,
            )  # fmt: skip
            values *= window[:, None]
        values = tl.where(mask, values, 0.0)
    return values

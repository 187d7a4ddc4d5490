"""Sums over rows of pairs with factorized kernels: the kernel of a pair is a vector of C numbers, κ = φ W.

Rows and slots as in ``triton_full``. Gradients of W and φ take the slots flat, each with its row.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.ops.convolution.triton_blocks import Rows
from gridless.ops.convolution.triton_full import (
    gather,
    parts_of,
    phi_options,
    products,
    row_bounds,
    slots_in,
    slots_of,
    tile,
)
from gridless.ops.convolution.triton_phi import Phi, phi_tile

_ROWS, _PLACES, _SLOTS, _WIDTH = 16, 16, 64, 16


@triton.jit
def row_sums_kernel(
    phi, network, row_positions, column_positions, extents,
    columns, offsets, values, weight, out, num_rows, first_slot, last_slot, width, channels,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    MEAN: tl.constexpr, ADD: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr, PHI_PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """out_rc = Σ_e κ_ec v_jc, over the row's length for a mean, of one block of rows and one of channels."""
    row, starts, counts, lengths = row_bounds(offsets, tl.program_id(0) * ROWS, num_rows, first_slot, last_slot, ROWS)
    if tl.max(counts, 0) == 0:
        return
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((ROWS, CHANNELS), SUM)
    for first in range(0, tl.max(counts, 0), PLACES):
        slot, column, inside, rows = slots_of(columns, row, starts, counts, first, ROWS, PLACES)
        kernels = tl.zeros((ROWS * PLACES, CHANNELS), SUM)
        for first_h in range(0, width, WIDTH):
            h = first_h + tl.arange(0, WIDTH)
            phi_part = phi_tile(
                phi, network, row_positions, column_positions, extents,
                tl.reshape(slot, (ROWS * PLACES,)), rows, tl.reshape(column, (ROWS * PLACES,)),
                tl.reshape(inside, (ROWS * PLACES,)), h, width,
                ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES, PHI_PRECISION, SUM,
            ).to(DTYPE)  # fmt: skip
            mask = (h < width)[:, None] & (c < channels)[None, :]
            factors = tl.load(weight + h[:, None] * channels + c[None, :], mask, 0.0).to(DTYPE)
            kernels = tl.dot(phi_part, factors, kernels, input_precision=PRECISION, out_dtype=SUM)
        gathered = gather(column, values, inside, c, channels, SUM)
        messages = tl.reshape(kernels, (ROWS, PLACES, CHANNELS)) * gathered
        total += tl.sum(tl.where(inside[:, :, None], messages, 0.0), 1)
    if MEAN:
        total = total / tl.maximum(lengths, 1).to(SUM)[:, None]
    mask = (counts > 0)[:, None] & (c < channels)[None, :]
    target = out + row[:, None] * channels + c[None, :]
    if ADD:
        total += tl.load(target, mask, 0.0).to(SUM)
    tl.store(target, total, mask)


@triton.jit
def _grad_kernels(row, column, row_values, values, inside, c, channels, SUM: tl.constexpr):
    """∂κ_ec = g_rc v_jc of slots [SLOTS] and channels c [CHANNELS]."""
    mask = inside[:, None] & (c < channels)[None, :]
    g = tl.load(row_values + row[:, None] * channels + c[None, :], mask, 0.0).to(SUM)
    return g * tl.load(values + column[:, None] * channels + c[None, :], mask, 0.0).to(SUM)


@triton.jit
def weight_gradient_kernel(
    phi, network, row_positions, column_positions, extents,
    rows, columns, values, row_values, out, num_slots, slots_a_part, width, channels,
    SLOTS: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr, PHI_PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """∂W_hc = Σ_e φ_eh g_rc v_jc of one part of the slots, for a tile of ∂W; out [parts, H, C]."""
    h = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    part = tl.program_id(2).to(tl.int64)
    total = tl.zeros((WIDTH, CHANNELS), SUM)
    for first in range(part * slots_a_part, min(num_slots, (part + 1) * slots_a_part), SLOTS):
        slot = first + tl.arange(0, SLOTS)
        inside = slot < num_slots
        row, column = tl.load(rows + slot, inside, 0), tl.load(columns + slot, inside, 0)
        phi_part = phi_tile(
            phi, network, row_positions, column_positions, extents, slot, row, column, inside, h, width,
            ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES, PHI_PRECISION, SUM,
        ).to(DTYPE)  # fmt: skip
        grad_kernels = _grad_kernels(row, column, row_values, values, inside, c, channels, SUM).to(DTYPE)
        total = tl.dot(tl.trans(phi_part), grad_kernels, total, input_precision=PRECISION, out_dtype=SUM)
    mask = (h < width)[:, None] & (c < channels)[None, :]
    tl.store(out + (part * width + h)[:, None] * channels + c[None, :], total, mask)


@triton.jit
def phi_gradient_kernel(
    rows, columns, values, row_values, weight, out, num_slots, width, channels,
    SLOTS: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """∂φ_eh = Σ_c g_rc v_jc W_hc for one block of slots and one of basis functions."""
    slot = tl.program_id(0).to(tl.int64) * SLOTS + tl.arange(0, SLOTS)
    inside = slot < num_slots
    row, column = tl.load(rows + slot, inside, 0), tl.load(columns + slot, inside, 0)
    h = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((SLOTS, WIDTH), SUM)
    for first_c in range(0, channels, CHANNELS):
        c = first_c + tl.arange(0, CHANNELS)
        grad_kernels = _grad_kernels(row, column, row_values, values, inside, c, channels, SUM).to(DTYPE)
        mask = (h < width)[None, :] & (c < channels)[:, None]
        factors = tl.load(weight + h[None, :] * channels + c[:, None], mask, 0.0).to(DTYPE)
        total = tl.dot(grad_kernels, factors, total, input_precision=PRECISION, out_dtype=SUM)
    mask = inside[:, None] & (h < width)[None, :]
    tl.store(out + slot[:, None] * width + h[None, :], total, mask)


def row_sums(
    rows: Rows, phi: Phi, values: Tensor, weight: Tensor, out: Tensor, precision: str, mean: bool = False
) -> None:
    """Add Σ_slots κ_ec v_jc of each row, or its part of the mean, to ``out`` [R, C]; zeros at first."""
    if out.numel() == 0:
        return
    channels = tile(out.shape[1], 16, 32)
    grid = (triton.cdiv(rows.num_rows, _ROWS), triton.cdiv(out.shape[1], channels))
    row_sums_kernel[grid](
        *phi.tensors, rows.columns, rows.offsets, values, weight, out, rows.num_rows, *slots_in(rows), *weight.shape,
        ROWS=_ROWS, PLACES=_PLACES, WIDTH=_WIDTH, CHANNELS=channels, MEAN=mean, ADD=rows.first > 0,
        **products(weight.dtype, precision),
        **phi_options(phi, weight.dtype, precision),
    )  # fmt: skip


def weight_gradient(
    rows: Rows, phi: Phi, values: Tensor, row_values: Tensor, dtype: torch.dtype, precision: str
) -> Tensor:
    """∂W_hc = Σ_e φ_eh g_rc v_jc, [H, C] in ``dtype``."""
    shape = (phi.width, values.shape[1])
    if 0 in shape:
        return values.new_zeros(shape, dtype=dtype)
    channels = tile(shape[1], 16, 32)
    grid = (triton.cdiv(phi.width, _WIDTH), triton.cdiv(shape[1], channels))
    num_parts, slots_a_part = parts_of(rows.num_slots, math.prod(grid), _SLOTS)
    out = values.new_empty(num_parts, *shape, dtype=dtype)
    weight_gradient_kernel[(grid[0], grid[1], num_parts)](
        *phi.tensors, rows.slot_rows(), rows.columns, values, row_values, out, rows.num_slots, slots_a_part,
        *shape, SLOTS=_SLOTS, WIDTH=_WIDTH, CHANNELS=channels, **products(row_values.dtype, precision),
        **phi_options(phi, row_values.dtype, precision),
    )  # fmt: skip
    return out.sum(dim=0)


def phi_gradient(
    rows: Rows, values: Tensor, row_values: Tensor, weight: Tensor, dtype: torch.dtype, precision: str
) -> Tensor:
    """∂φ_eh = Σ_c g_rc v_jc W_hc, [S, H]."""
    num_slots, width = rows.num_slots, weight.shape[0]
    if weight.numel() == 0:
        return weight.new_zeros(num_slots, width, dtype=dtype)
    out = weight.new_empty(num_slots, width, dtype=dtype)
    phi_gradient_kernel[(triton.cdiv(num_slots, _SLOTS), triton.cdiv(width, _WIDTH))](
        rows.slot_rows(), rows.columns, values, row_values, weight, out, num_slots, *weight.shape,
        SLOTS=_SLOTS, WIDTH=_WIDTH, CHANNELS=tile(weight.shape[1], 16, 32), **products(weight.dtype, precision),
    )  # fmt: skip
    return out

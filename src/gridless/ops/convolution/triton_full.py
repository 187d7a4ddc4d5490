"""Sums over rows of pairs with full kernels: P and T live in registers and are never written to memory.

Rows are compressed: row r has the slots offsets[r] to offsets[r + 1], each with a row of φ and a column (a row of the
gathered values). A program takes ROWS rows and WIDTH basis functions at a time; slots of all its rows are read PLACES
at a time, masked where a row has ended. Every number is summed by one program in a fixed order: results are
deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.ops.convolution.triton_blocks import Rows
from gridless.ops.convolution.triton_phi import Phi, phi_tile

# Sums that are taken apart, such as a gradient of W, are spread over about this many programs.
_PROGRAMS = 512
# Fewer warps, loads ahead of the loop and the assembler's own limit all spill (benchmarks/triton_registers.py).
_LAUNCH = {"num_warps": 8, "num_stages": 1, "maxnreg": 255, "enable_fp_fusion": True}
_DTYPES = {torch.float64: tl.float64, torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}
_SUMS = {torch.float64: tl.float64, torch.float32: tl.float32, torch.bfloat16: tl.float32}


@triton.jit
def row_bounds(offsets, first, num_rows, first_slot, last_slot, ROWS: tl.constexpr):
    """The rows from ``first`` on: their numbers, where their slots in a block begin, how many those are, and all."""
    row = first + tl.arange(0, ROWS).to(tl.int64)
    begins = tl.load(offsets + row, row < num_rows, 0)
    ends = tl.load(offsets + row + 1, row < num_rows, 0)
    starts = tl.maximum(begins, first_slot)
    counts = tl.maximum(tl.minimum(ends, last_slot) - starts, 0)
    return row, starts - first_slot, counts, ends - begins


@triton.jit
def slots_of(columns, row, starts, counts, first, ROWS: tl.constexpr, PLACES: tl.constexpr):
    """PLACES slots of each row, [ROWS, PLACES]: their numbers, their columns, and which there are; the rows flat."""
    places = first + tl.arange(0, PLACES)
    inside = places[None, :] < counts[:, None]
    slot = starts[:, None] + places[None, :]
    rows = tl.reshape(tl.broadcast_to(row[:, None], (ROWS, PLACES)), (ROWS * PLACES,))
    return slot, tl.load(columns + slot, inside, 0), inside, rows


@triton.jit
def gather(column, values, inside, c, channels, DTYPE: tl.constexpr):
    """v_jc of columns [ROWS, PLACES] and channels c [CHANNELS], zero where there is none."""
    mask = inside[:, :, None] & (c < channels)[None, None, :]
    return tl.load(values + column[:, :, None] * channels + c[None, None, :], mask, 0.0).to(DTYPE)


@triton.jit
def _row_sums(
    phi, network, row_positions, column_positions, extents,
    columns, values, row, starts, counts, h, c, width, channels,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr, PHI_PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """P_rch = Σ_e φ_eh v_jc of a block of rows, [ROWS, CHANNELS · WIDTH] in the dtype of products."""
    sums = tl.zeros((ROWS, CHANNELS, WIDTH), SUM)
    for first in range(0, tl.max(counts, 0), PLACES):
        slot, column, inside, rows = slots_of(columns, row, starts, counts, first, ROWS, PLACES)
        factors = phi_tile(
            phi, network, row_positions, column_positions, extents,
            tl.reshape(slot, (ROWS * PLACES,)), rows, tl.reshape(column, (ROWS * PLACES,)),
            tl.reshape(inside, (ROWS * PLACES,)), h, width,
            ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES, PHI_PRECISION, SUM,
        )  # fmt: skip
        factors = tl.reshape(factors, (ROWS, PLACES, WIDTH)).to(DTYPE)
        gathered = gather(column, values, inside, c, channels, DTYPE)
        sums = tl.dot(tl.permute(gathered, (0, 2, 1)), factors, sums, input_precision=PRECISION, out_dtype=SUM)
    # Past the end of φ and v there is 0 times whatever the other holds, which may be infinite.
    exists = (c < channels)[:, None] & (h < width)[None, :]
    return tl.reshape(tl.where(exists[None, :, :], sums, 0.0), (ROWS, CHANNELS * WIDTH)).to(DTYPE)


@triton.jit
def row_sums_kernel(
    phi, network, row_positions, column_positions, extents,
    columns, offsets, values, weight, out, num_rows, first_slot, last_slot, width, channels, out_channels,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
    MEAN: tl.constexpr, ADD: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr, PHI_PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """out_ro = Σ_hc P_rch W_hco, over the row's length for a mean, of one block of rows and one of output channels.

    ``out`` holds zeros, or where ADD says so the sums of earlier slots.
    """
    row, starts, counts, lengths = row_bounds(offsets, tl.program_id(0) * ROWS, num_rows, first_slot, last_slot, ROWS)
    if tl.max(counts, 0) == 0:
        return
    o = tl.program_id(1) * OUT + tl.arange(0, OUT)
    place = tl.arange(0, CHANNELS * WIDTH)
    total = tl.zeros((ROWS, OUT), SUM)
    for first_h in range(0, width, WIDTH):
        h = first_h + place % WIDTH
        for first_c in range(0, channels, CHANNELS):
            c = first_c + place // WIDTH
            sums = _row_sums(
                phi, network, row_positions, column_positions, extents,
                columns, values, row, starts, counts,
                first_h + tl.arange(0, WIDTH), first_c + tl.arange(0, CHANNELS),
                width, channels, ROWS, PLACES, WIDTH, CHANNELS, DTYPE, SUM, PRECISION, PHI_PRECISION,
                ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES,
            )  # fmt: skip
            mask = ((h < width) & (c < channels))[:, None] & (o < out_channels)[None, :]
            factors = tl.load(weight + (h * channels + c)[:, None] * out_channels + o[None, :], mask, 0.0).to(DTYPE)
            total = tl.dot(sums, factors, total, input_precision=PRECISION, out_dtype=SUM)
    if MEAN:
        total = total / tl.maximum(lengths, 1).to(SUM)[:, None]
    # An empty row stays zero even where a weight is NaN.
    mask = (counts > 0)[:, None] & (o < out_channels)[None, :]
    target = out + row[:, None] * out_channels + o[None, :]
    if ADD:
        total += tl.load(target, mask, 0.0).to(SUM)
    tl.store(target, total, mask)


@triton.jit
def weight_gradient_kernel(
    phi, network, row_positions, column_positions, extents,
    columns, offsets, values, row_values, out, num_rows, rows_a_part, first_slot, last_slot,
    width, channels, out_channels,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr, PHI_PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr, HIDDEN_TILE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """∂W_hco = Σ_r P_rch g_ro of one part of the rows, for a tile of ∂W; out [parts, H, C, C_out]."""
    part, out_tile = tl.program_id(2), tl.program_id(1)
    width_tiles = tl.cdiv(width, WIDTH)
    first_h, first_c = tl.program_id(0) % width_tiles * WIDTH, tl.program_id(0) // width_tiles * CHANNELS
    o = out_tile * OUT + tl.arange(0, OUT)
    total = tl.zeros((CHANNELS * WIDTH, OUT), SUM)
    for first in range(part * rows_a_part, min(num_rows, (part + 1) * rows_a_part), ROWS):
        row, starts, counts, _lengths = row_bounds(offsets, first, num_rows, first_slot, last_slot, ROWS)
        if tl.max(counts, 0) > 0:
            sums = _row_sums(
                phi, network, row_positions, column_positions, extents,
                columns, values, row, starts, counts,
                first_h + tl.arange(0, WIDTH), first_c + tl.arange(0, CHANNELS),
                width, channels, ROWS, PLACES, WIDTH, CHANNELS, DTYPE, SUM, PRECISION, PHI_PRECISION,
                ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES,
            )  # fmt: skip
            mask = (counts > 0)[:, None] & (o < out_channels)[None, :]
            g = tl.load(row_values + row[:, None] * out_channels + o[None, :], mask, 0.0).to(DTYPE)
            total = tl.dot(tl.trans(sums), g, total, input_precision=PRECISION, out_dtype=SUM)
    place = tl.arange(0, CHANNELS * WIDTH)
    h, c = first_h + place % WIDTH, first_c + place // WIDTH
    mask = ((h < width) & (c < channels))[:, None] & (o < out_channels)[None, :]
    line = (part.to(tl.int64) * width + h) * channels + c
    tl.store(out + line[:, None] * out_channels + o[None, :], total, mask)


@triton.jit
def phi_gradient_kernel(
    columns, offsets, values, row_values, weight, out, num_rows, first_slot, last_slot, width, channels, out_channels,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
    DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """∂φ_eh = Σ_c v_jc T_rch, T_rch = Σ_o W_hco g_ro, for the slots of one block of rows and WIDTH basis functions."""
    row, starts, counts, _lengths = row_bounds(offsets, tl.program_id(0) * ROWS, num_rows, first_slot, last_slot, ROWS)
    if tl.max(counts, 0) == 0:
        return
    place = tl.arange(0, CHANNELS * WIDTH)
    own_h = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    h = tl.program_id(1) * WIDTH + place % WIDTH
    for first_c in range(0, channels, CHANNELS):
        c = first_c + place // WIDTH
        transformed = tl.zeros((ROWS, CHANNELS * WIDTH), SUM)
        for first_o in range(0, out_channels, OUT):
            o = first_o + tl.arange(0, OUT)
            mask = (row < num_rows)[:, None] & (o < out_channels)[None, :]
            g = tl.load(row_values + row[:, None] * out_channels + o[None, :], mask, 0.0).to(DTYPE)
            mask = (o < out_channels)[:, None] & ((h < width) & (c < channels))[None, :]
            factors = tl.load(weight + (h * channels + c)[None, :] * out_channels + o[:, None], mask, 0.0).to(DTYPE)
            transformed = tl.dot(g, factors, transformed, input_precision=PRECISION, out_dtype=SUM)
        transformed = tl.where(((h < width) & (c < channels))[None, :], transformed, 0.0)
        by_channel = tl.reshape(transformed, (ROWS, CHANNELS, WIDTH)).to(DTYPE)
        for first_place in range(0, tl.max(counts, 0), PLACES):
            slot, column, inside, _rows = slots_of(columns, row, starts, counts, first_place, ROWS, PLACES)
            gathered = gather(column, values, inside, first_c + tl.arange(0, CHANNELS), channels, DTYPE)
            mask = inside[:, :, None] & (own_h < width)[None, None, :]
            target = out + slot[:, :, None] * width + own_h[None, None, :]
            before = tl.load(target, mask & (first_c > 0), 0.0)
            tl.store(target, tl.dot(gathered, by_channel, before, input_precision=PRECISION, out_dtype=SUM), mask)
        # What was written above may be read by other threads of the program next.
        tl.debug_barrier()


def products(dtype: torch.dtype, precision: str) -> dict[str, Any]:
    """How a kernel multiplies operands of ``dtype``; ``precision`` concerns float32 alone."""
    precision = precision if dtype == torch.float32 else "ieee"
    return {"DTYPE": _DTYPES[dtype], "SUM": _SUMS[dtype], "PRECISION": precision, **_LAUNCH}


def phi_options(phi: Phi, dtype: torch.dtype, precision: str) -> dict[str, Any]:
    """How a kernel comes by φ; the network's own products never lose more than TF32 does."""
    precision = {torch.bfloat16: "tf32", torch.float64: "ieee"}.get(dtype, precision)
    return {"PHI_PRECISION": precision, **phi.options}


def tile(size: int, smallest: int, largest: int) -> int:
    """The power of two that covers ``size``, within bounds."""
    return min(max(triton.next_power_of_2(size), smallest), largest)


def parts_of(length: int, tiles: int, multiple: int) -> tuple[int, int]:
    """Number and length of the parts that are summed apart, so that ``tiles`` programs a part fill the GPU."""
    num_parts = max(1, min(_PROGRAMS // tiles, triton.cdiv(length, 4 * multiple)))
    part = triton.cdiv(triton.cdiv(length, num_parts), multiple) * multiple
    return triton.cdiv(length, part), part


def slots_in(rows: Rows) -> tuple[int, int]:
    """The block's first slot and the one after its last."""
    return rows.first, rows.first + rows.num_slots


def row_sums(
    rows: Rows, phi: Phi, values: Tensor, weight: Tensor, out: Tensor, precision: str, mean: bool = False
) -> None:
    """Add Σ_slots Σ_hc φ_eh v_jc W_hco of each row, or its part of the mean, to ``out`` [R, C_out]; zeros at first."""
    if out.numel() == 0:
        return
    tiles = tiles_of(weight.shape, weight.dtype)
    grid = (triton.cdiv(rows.num_rows, tiles["ROWS"]), triton.cdiv(out.shape[1], tiles["OUT"]))
    row_sums_kernel[grid](
        *phi.tensors, rows.columns, rows.offsets, values, weight, out, rows.num_rows, *slots_in(rows), *weight.shape,
        **tiles, MEAN=mean, ADD=rows.first > 0,
        **products(weight.dtype, precision), **phi_options(phi, weight.dtype, precision),
    )  # fmt: skip


def weight_gradient(
    rows: Rows, phi: Phi, values: Tensor, row_values: Tensor, dtype: torch.dtype, precision: str
) -> Tensor:
    """∂W = Σ_r P_rhc g_ro, [H, C_col, C_row] in ``dtype``."""
    shape = (phi.width, values.shape[1], row_values.shape[1])
    if 0 in shape:
        return values.new_zeros(shape, dtype=dtype)
    tiles = tiles_of(shape, row_values.dtype)
    grid = (
        triton.cdiv(shape[0], tiles["WIDTH"]) * triton.cdiv(shape[1], tiles["CHANNELS"]),
        triton.cdiv(shape[2], tiles["OUT"]),
    )
    num_parts, rows_a_part = parts_of(rows.num_rows, math.prod(grid), tiles["ROWS"])
    out = values.new_empty(num_parts, *shape, dtype=dtype)
    weight_gradient_kernel[(grid[0], grid[1], num_parts)](
        *phi.tensors, rows.columns, rows.offsets, values, row_values, out, rows.num_rows, rows_a_part,
        *slots_in(rows), *shape, **tiles,
        **products(row_values.dtype, precision), **phi_options(phi, row_values.dtype, precision),
    )  # fmt: skip
    return out.sum(dim=0)


def phi_gradient(
    rows: Rows, values: Tensor, row_values: Tensor, weight: Tensor, dtype: torch.dtype, precision: str
) -> Tensor:
    """∂φ_eh = Σ_c v_jc T_rhc with T = g Wᵀ, [S, H]."""
    shape = (rows.num_slots, weight.shape[0])
    if weight.numel() == 0:
        return weight.new_zeros(shape, dtype=dtype)
    out = weight.new_empty(shape, dtype=dtype)
    tiles = tiles_of(weight.shape, weight.dtype)
    grid = (triton.cdiv(rows.num_rows, tiles["ROWS"]), triton.cdiv(shape[1], tiles["WIDTH"]))
    phi_gradient_kernel[grid](
        rows.columns, rows.offsets, values, row_values, weight, out, rows.num_rows, *slots_in(rows), *weight.shape,
        **tiles, **products(weight.dtype, precision),
    )  # fmt: skip
    return out


def tiles_of(shape: Sequence[int], dtype: torch.dtype) -> dict[str, int]:
    """Sizes of tiles for W's shape with which nothing spills; 64 bytes of a column are gathered at a time."""
    width, channels, out_channels = shape
    return {
        "ROWS": 16,
        "PLACES": 16,
        "WIDTH": tile(width, 1, 8),
        "CHANNELS": tile(channels, 16, 32 if dtype == torch.bfloat16 else 16),
        "OUT": tile(out_channels, 16, 64),
    }

"""Transform first: each column's values times W once, then one message a pair, then the sum of each row's messages.

T of a block of rows lives in registers; messages, one number a pair and output channel, go through memory, some
channels at a time. Each is written by one program and read by one: nothing is added to by two.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.ops.convolution.triton_blocks import Rows
from gridless.ops.convolution.triton_full import phi_options, products, row_bounds, slots_in, slots_of
from gridless.ops.convolution.triton_phi import Phi, phi_tile

#: Output channels of one program.
CHANNELS = 16
_ROWS, _PLACES, _WIDTH, _DEPTH = 16, 32, 16, 32


@triton.jit
def messages_kernel(
    phi, network, row_positions, column_positions, extents,
    columns, offsets, pairs, row_values, weight, out, num_rows, first_slot, last_slot,
    width, channels, out_channels, first_out, num_out,
    ROWS: tl.constexpr, PLACES: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr, OUT: tl.constexpr,
    ORDERED: tl.constexpr, DTYPE: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
    PHI_PRECISION: tl.constexpr, ACTIVATION: tl.constexpr, INPUTS: tl.constexpr, HIDDEN: tl.constexpr,
    HIDDEN_TILE: tl.constexpr, WINDOW: tl.constexpr, ROWS_ARE_QUERIES: tl.constexpr,
):  # fmt: skip
    """m_eo = Σ_h φ_eh T_rho, T_rho = Σ_c v_rc W_hco, of one block of rows and one of channels; out [E, num_out]."""
    row, starts, counts, _lengths = row_bounds(offsets, tl.program_id(0) * ROWS, num_rows, first_slot, last_slot, ROWS)
    own = tl.program_id(1) * OUT + tl.arange(0, OUT)
    o = first_out + own
    place = tl.arange(0, WIDTH * OUT)
    place_o = first_out + tl.program_id(1) * OUT + place % OUT
    for first in range(0, tl.max(counts, 0), PLACES):
        slot, column, inside, rows = slots_of(columns, row, starts, counts, first, ROWS, PLACES)
        messages = tl.zeros((ROWS, PLACES, OUT), SUM)
        for first_h in range(0, width, WIDTH):
            h = first_h + place // OUT
            exists = (h < width) & (place_o < out_channels)
            transformed = tl.zeros((ROWS, WIDTH * OUT), SUM)
            for first_c in range(0, channels, DEPTH):
                c = first_c + tl.arange(0, DEPTH)
                mask = (counts > 0)[:, None] & (c < channels)[None, :]
                v = tl.load(row_values + row[:, None] * channels + c[None, :], mask, 0.0).to(DTYPE)
                line = h[None, :] * channels + c[:, None]
                mask = (c < channels)[:, None] & exists[None, :]
                factors = tl.load(weight + line * out_channels + place_o[None, :], mask, 0.0).to(DTYPE)
                transformed = tl.dot(v, factors, transformed, input_precision=PRECISION, out_dtype=SUM)
            # Past the end of φ there is 0 times whatever v holds, which may be infinite.
            transformed = tl.where(exists[None, :], transformed, 0.0)
            values = phi_tile(
                phi, network, row_positions, column_positions, extents,
                tl.reshape(slot, (ROWS * PLACES,)), rows, tl.reshape(column, (ROWS * PLACES,)),
                tl.reshape(inside, (ROWS * PLACES,)), first_h + tl.arange(0, WIDTH), width,
                ACTIVATION, INPUTS, HIDDEN, HIDDEN_TILE, WINDOW, ROWS_ARE_QUERIES, PHI_PRECISION, SUM,
            )  # fmt: skip
            messages = tl.dot(
                tl.reshape(values, (ROWS, PLACES, WIDTH)).to(DTYPE),
                tl.reshape(transformed, (ROWS, WIDTH, OUT)).to(DTYPE),
                messages, input_precision=PRECISION, out_dtype=SUM,
            )  # fmt: skip
        pair = tl.load(pairs + slot, inside, 0) if ORDERED else slot
        mask = inside[:, :, None] & (own < num_out)[None, None, :] & (o < out_channels)[None, None, :]
        tl.store(out + pair[:, :, None] * num_out + own[None, None, :], messages, mask)


@triton.jit
def message_sums_kernel(
    messages, offsets, pairs, out, num_rows, num_slots, out_channels, first_out, num_out,
    ROWS: tl.constexpr, OUT: tl.constexpr, ORDERED: tl.constexpr, MEAN: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """out_ro = Σ_e m_eo, over the row's length for a mean, of one block of rows and one of channels."""
    row, starts, counts, _lengths = row_bounds(offsets, tl.program_id(0) * ROWS, num_rows, 0, num_slots, ROWS)
    own = tl.program_id(1) * OUT + tl.arange(0, OUT)
    o = first_out + own
    exists = (own < num_out) & (o < out_channels)
    total = tl.zeros((ROWS, OUT), SUM)
    for place in range(0, tl.max(counts, 0)):
        inside = place < counts
        pair = starts + place
        if ORDERED:
            pair = tl.load(pairs + pair, inside, 0)
        mask = inside[:, None] & exists[None, :]
        total += tl.load(messages + pair[:, None] * num_out + own[None, :], mask, 0.0)
    if MEAN:
        total = total / tl.maximum(counts, 1).to(SUM)[:, None]
    tl.store(out + row[:, None] * out_channels + o[None, :], total, (row < num_rows)[:, None] & exists[None, :])


def add_messages(
    rows: Rows, phi: Phi, row_values: Tensor, weight: Tensor, out: Tensor, first: int, precision: str
) -> None:
    """Σ_hc φ_eh v_rc W_hco of the rows' pairs into ``out`` [E, num_out], for the output channels from ``first`` on."""
    num_out = out.shape[1]
    messages_kernel[(triton.cdiv(rows.num_rows, _ROWS), triton.cdiv(num_out, CHANNELS))](
        *phi.tensors, rows.columns, rows.offsets, rows.columns if rows.pairs is None else rows.pairs,
        row_values, weight, out, rows.num_rows, *slots_in(rows), *weight.shape, first, num_out,
        ROWS=_ROWS, PLACES=_PLACES, WIDTH=_WIDTH, DEPTH=_DEPTH, OUT=CHANNELS, ORDERED=rows.pairs is not None,
        **products(weight.dtype, precision), **phi_options(phi, weight.dtype, precision),
    )  # fmt: skip


def sum_messages(rows: Rows, messages: Tensor, out: Tensor, first: int, mean: bool) -> None:
    """Σ_slots m_eo of each of the rows, or their mean, into ``out`` [R, C_out] from the channel ``first`` on."""
    num_out = messages.shape[1]
    message_sums_kernel[(triton.cdiv(rows.num_rows, _ROWS), triton.cdiv(num_out, CHANNELS))](
        messages, rows.offsets, rows.columns if rows.pairs is None else rows.pairs,
        out, rows.num_rows, rows.num_slots, out.shape[1], first, num_out,
        ROWS=_ROWS, OUT=CHANNELS, ORDERED=rows.pairs is not None, MEAN=mean,
        SUM=tl.float64 if messages.dtype == torch.float64 else tl.float32, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip

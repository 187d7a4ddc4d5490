"""The sums over rows of pairs as Triton kernels: P and T live in registers and are never written to memory.

Rows are compressed: row i has the slots offsets[i] to offsets[i + 1], each with a pair (its row of φ) and a column
(its row of the gathered values). Every number is summed by one program in a fixed order: results are deterministic.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# The smallest tile that tensor cores take in every dtype.
_TILE = 16


@triton.jit
def _row_sums(phi, columns, pairs, values, starts, counts, h, c, width, channels, ROWS: tl.constexpr, C: tl.constexpr):
    """P[:, h, c] = Σ_e φ_eh v_jc of a block of rows, [ROWS, C], in the dtype of φ."""
    sums = tl.zeros((ROWS, C), phi.dtype.element_ty)
    for place in range(0, tl.max(counts, 0)):
        inside = place < counts
        pair = tl.load(pairs + starts + place, inside, 0)
        column = tl.load(columns + starts + place, inside, 0)
        factor = tl.load(phi + pair * width + h, inside, 0.0)
        mask = inside[:, None] & (c < channels)[None, :]
        gathered = tl.load(values + column[:, None] * channels + c[None, :], mask, 0.0)
        sums += factor[:, None] * gathered.to(sums.dtype)
    return sums


@triton.jit
def contract_kernel(
    phi, columns, pairs, offsets, values, weight, out, num_rows, width, channels, out_channels,
    ROWS: tl.constexpr, C: tl.constexpr, O: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out_io = Σ_hc P_ihc W_hco for one block of rows and one of output channels."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * O + tl.arange(0, O)
    starts = tl.load(offsets + row, row < num_rows, 0)
    counts = tl.load(offsets + row + 1, row < num_rows, 0) - starts
    total = tl.zeros((ROWS, O), out.dtype.element_ty)
    for h in range(0, width):
        for first in range(0, channels, C):
            c = first + tl.arange(0, C)
            sums = _row_sums(phi, columns, pairs, values, starts, counts, h, c, width, channels, ROWS, C)
            mask = (c < channels)[:, None] & (o < out_channels)[None, :]
            tile = tl.load(weight + (h * channels + c[:, None]) * out_channels + o[None, :], mask, 0.0)
            total += tl.dot(sums, tile.to(sums.dtype), input_precision=PRECISION, out_dtype=total.dtype)
    mask = (row < num_rows)[:, None] & (o < out_channels)[None, :]
    tl.store(out + row[:, None] * out_channels + o[None, :], total, mask)


@triton.jit
def weight_gradient_kernel(
    phi, columns, pairs, offsets, values, grad_out, out, num_rows, width, channels, out_channels,
    ROWS: tl.constexpr, C: tl.constexpr, O: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """∂W_hco = Σ_i P_ihc g_io for one h and one tile of channels."""
    h = tl.program_id(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    o = tl.program_id(2) * O + tl.arange(0, O)
    total = tl.zeros((C, O), out.dtype.element_ty)
    for first in range(0, num_rows, ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        starts = tl.load(offsets + row, row < num_rows, 0)
        counts = tl.load(offsets + row + 1, row < num_rows, 0) - starts
        sums = _row_sums(phi, columns, pairs, values, starts, counts, h, c, width, channels, ROWS, C)
        mask = (row < num_rows)[:, None] & (o < out_channels)[None, :]
        g = tl.load(grad_out + row[:, None] * out_channels + o[None, :], mask, 0.0)
        total += tl.dot(tl.trans(sums), g.to(sums.dtype), input_precision=PRECISION, out_dtype=total.dtype)
    mask = (c < channels)[:, None] & (o < out_channels)[None, :]
    tl.store(out + (h * channels + c[:, None]) * out_channels + o[None, :], total, mask)


def _precision(dtype: torch.dtype, tf32: bool) -> str:
    return "tf32" if tf32 and dtype == torch.float32 else "ieee"


def contract(
    phi: Tensor, columns: Tensor, pairs: Tensor, offsets: Tensor, values: Tensor, weight: Tensor, *, tf32: bool = False
) -> Tensor:
    """Σ_slots Σ_hc φ_eh v_jc W_hco of each row, [num_rows, C_out] in the dtype of φ [E, H]."""
    num_rows, (width, channels, out_channels) = len(offsets) - 1, weight.shape
    out = torch.empty(num_rows, out_channels, dtype=phi.dtype, device=phi.device)
    if out.numel() > 0:
        contract_kernel[(triton.cdiv(num_rows, _TILE), triton.cdiv(out_channels, _TILE))](
            phi.contiguous(), columns.contiguous(), pairs.contiguous(), offsets.contiguous(), values.contiguous(),
            weight.contiguous(), out, num_rows, width, channels, out_channels,
            ROWS=_TILE, C=_TILE, O=_TILE, PRECISION=_precision(phi.dtype, tf32),
        )  # fmt: skip
    return out


def weight_gradient(
    phi: Tensor, columns: Tensor, pairs: Tensor, offsets: Tensor, values: Tensor, grad_out: Tensor, *,
    tf32: bool = False,
) -> Tensor:  # fmt: skip
    """Σ_i P_ihc g_io, [H, C_in, C_out] in the dtype of φ [E, H]."""
    num_rows, width, channels, out_channels = len(offsets) - 1, phi.shape[1], values.shape[1], grad_out.shape[1]
    out = torch.empty(width, channels, out_channels, dtype=phi.dtype, device=phi.device)
    if out.numel() > 0:
        weight_gradient_kernel[(width, triton.cdiv(channels, _TILE), triton.cdiv(out_channels, _TILE))](
            phi.contiguous(), columns.contiguous(), pairs.contiguous(), offsets.contiguous(), values.contiguous(),
            grad_out.contiguous(), out, num_rows, width, channels, out_channels,
            ROWS=_TILE, C=_TILE, O=_TILE, PRECISION=_precision(phi.dtype, tf32),
        )  # fmt: skip
    return out

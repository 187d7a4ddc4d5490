"""The compiled pair loop: how tensors get into it, and sums and maxima over rows by it.

A weighted sum is a convolution with one basis function, whose values are given, and no weights.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from gridless import native
from gridless.native import handed
from gridless.ops.dtypes import compute_dtype, widened
from gridless.ops.workspace import Workspace

# Numbers in the messages of one block, where threads have no sums of their own.
_BLOCK_NUMBERS = 2**19
# Numbers of the gradients to features and weights that threads beside the first may have of their own, all together.
_MOST_COPIED = 2**24

_BYTES = torch.empty(0, dtype=torch.uint8, device="cpu")  # whatever device is the default at the first import
_workspace = Workspace()


def make_loop(dtype: torch.dtype, offsets: Tensor, columns: Tensor, num_columns: int, width: int, channels: int) -> Any:
    """A loop over rows with sums in ``dtype``; IndexError for offsets or columns that point outside."""
    extension = native.extension()
    loop_class = extension.PairLoopFloat64 if dtype == torch.float64 else extension.PairLoopFloat32
    return loop_class(
        handed(offsets.contiguous()), handed(columns.contiguous()), num_columns, width, channels,
        torch.get_num_threads(), _MOST_COPIED, native.instruction_set(),
    )  # fmt: skip


def set_features(loop: Any, features: Tensor) -> None:
    """[num_columns, C]; bfloat16 is widened inside the loop, float16 here."""
    features = features.detach().contiguous()
    loop.set_features(handed(features.view(torch.int16) if features.dtype == torch.bfloat16 else widened(features)))


def start(loop: Any) -> None:
    """Give the loop its memory, which is kept from call to call."""
    loop.start(handed(_workspace.take("pair loop", (loop.workspace_bytes(),), _BYTES)))


def sum_over_rows(features: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Σ_e w_e f_{j(e)} over each row, [M, C] in float32 or float64."""
    sums = torch.empty(len(offsets) - 1, features.shape[1], dtype=compute_dtype(features))
    _run(features, weights, indices, offsets, len(features), row_sums=sums)
    return sums


def sum_over_sources(rows: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor, num_sources: int) -> Tensor:
    """Σ_e w_e g_{i(e)} over the pairs of each source, [N, C] in float32 or float64, always in the same order."""
    sums = torch.zeros(num_sources, rows.shape[1], dtype=compute_dtype(rows))
    _run(None, weights, indices, offsets, num_sources, row_values=rows.to(sums.dtype), columns=sums)
    return sums


def dots_of_pairs(rows: Tensor, features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Σ_c g_{i(e)c} f_{j(e)c} of each pair, [E] in float32 or float64."""
    dots = torch.zeros(len(indices), dtype=compute_dtype(features))
    ones = torch.ones_like(dots)
    _run(features, ones, indices, offsets, len(features), row_values=rows.to(dots.dtype), grad_phi=dots)
    return dots


def largest_of_rows(features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Source of the largest value of each row and channel, [M, C] int64; the first of equal ones, 0 for empty rows."""
    places = torch.zeros(len(offsets) - 1, features.shape[1], dtype=torch.int64)
    if places.numel():
        loop = make_loop(compute_dtype(features), offsets, indices, len(features), 1, features.shape[1])
        set_features(loop, widened(features))
        loop.find_largest(handed(places))
    return places


def _run(
    features: Tensor | None,
    weights: Tensor,
    indices: Tensor,
    offsets: Tensor,
    num_columns: int,
    *,
    row_values: Tensor | None = None,
    row_sums: Tensor | None = None,
    columns: Tensor | None = None,
    grad_phi: Tensor | None = None,
) -> None:
    given = row_values if features is None else features
    assert given is not None
    dtype, channels = compute_dtype(given), given.shape[1]
    if channels == 0 or len(offsets) == 1:
        return
    loop = make_loop(dtype, offsets, indices, num_columns, 1, channels)
    if features is not None:
        set_features(loop, widened(features))
    phi = weights.detach().to(dtype).contiguous()
    row_values = None if row_values is None else row_values.detach().contiguous()
    most_pairs = len(indices) if loop.sums_apart else _BLOCK_NUMBERS // channels
    bounds = loop.cut_into_blocks(max(1, len(offsets)), max(1, most_pairs))
    loop.want(columns=handed(columns), phi=grad_phi is not None)
    start(loop)
    for first, last in itertools.pairwise(bounds):
        pairs = slice(int(offsets[first]), int(offsets[last]))
        rows = slice(first, last)
        loop.run(
            first,
            last,
            phi=handed(phi[pairs]),
            grad_phi=None if grad_phi is None else handed(grad_phi[pairs]),
            row_values=None if row_values is None else handed(row_values[rows]),
            row_sums=None if row_sums is None else handed(row_sums[rows]),
        )
    loop.finish()

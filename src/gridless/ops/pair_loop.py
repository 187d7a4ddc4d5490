"""Sums and maxima over rows by the compiled pair loop.

A weighted sum is a depth-wise convolution with one basis function and weights of one.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from gridless import native
from gridless.ops.workspace import Workspace

# Numbers in the messages of one block.
_BLOCK_NUMBERS = 2**19

_workspace = Workspace()


def runs_on(features: Tensor) -> bool:
    """Whether the compiled loop takes these features."""
    return features.device.type == "cpu" and not native.why_unavailable()


def sum_over_rows(features: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Σ_e w_e f_{j(e)} over each row, [M, C] in float32 or float64."""
    sums = torch.empty(len(offsets) - 1, features.shape[1], dtype=_dtype(features))
    _run(features, weights, indices, offsets, len(features), row_sums=sums)
    return sums


def sum_over_sources(rows: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor, num_sources: int) -> Tensor:
    """Σ_e w_e g_{i(e)} over the pairs of each source, [N, C] in float32 or float64, always in the same order."""
    sums = torch.zeros(num_sources, rows.shape[1], dtype=_dtype(rows))
    _run(None, weights, indices, offsets, num_sources, row_values=rows.to(sums.dtype), columns=sums)
    return sums


def dots_of_pairs(rows: Tensor, features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Σ_c g_{i(e)c} f_{j(e)c} of each pair, [E] in float32 or float64."""
    dots = torch.empty(len(indices), dtype=_dtype(features))
    ones = torch.ones_like(dots)
    _run(features, ones, indices, offsets, len(features), row_values=rows.to(dots.dtype), grad_phi=dots)
    return dots


def largest_of_rows(features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Source of the largest value of each row and channel, [M, C] int64; the first of equal ones, 0 for empty rows."""
    places = torch.zeros(len(offsets) - 1, features.shape[1], dtype=torch.int64)
    if places.numel():
        loop = _loop(_dtype(features), features.shape[1], indices, offsets, len(features))
        loop.set_features(features.detach().to(_dtype(features)).contiguous())
        loop.find_largest(places)
    return places


def _dtype(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _loop(dtype: torch.dtype, channels: int, indices: Tensor, offsets: Tensor, num_columns: int) -> Any:
    extension = native.extension()
    loop_class = extension.PairLoopFloat64 if dtype == torch.float64 else extension.PairLoopFloat32
    return loop_class(
        offsets.contiguous(), indices.contiguous(), num_columns, 1, channels, torch.get_num_threads(),
        native.instruction_set(),
    )  # fmt: skip


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
    dtype, channels = _dtype(given), given.shape[1]
    if channels == 0 or len(offsets) == 1:
        return
    loop = _loop(dtype, channels, indices, offsets, num_columns)
    loop.set_depthwise(torch.ones(1, loop.padded_channels, dtype=dtype))
    if features is not None:
        features = features.detach().contiguous()
        loop.set_features(features.view(torch.int16) if features.dtype == torch.bfloat16 else features.to(dtype))
    phi = weights.detach().to(dtype).contiguous()
    row_values = None if row_values is None else row_values.detach().contiguous()
    bounds = loop.cut_into_blocks(max(1, len(offsets)), max(1, _BLOCK_NUMBERS // channels))
    loop.want(columns=columns, phi=grad_phi is not None)
    loop.start(_workspace.take("pair loop", (loop.workspace_bytes(),), torch.empty(0, dtype=torch.uint8)))
    for first, last in itertools.pairwise(bounds):
        pairs = slice(int(offsets[first]), int(offsets[last]))
        rows = slice(first, last)
        loop.run(
            first,
            last,
            phi=phi[pairs],
            grad_phi=None if grad_phi is None else grad_phi[pairs],
            row_values=None if row_values is None else row_values[rows],
            row_sums=None if row_sums is None else row_sums[rows],
        )
    loop.finish()

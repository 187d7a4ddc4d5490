"""Exhaustive search in blocks of queries: the definition of the rows, for any dimension and device."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS_PER_BLOCK = 1 << 22


def search_rows(source: Tensor, query: Tensor, k: int | None, radius: float | None) -> tuple[Tensor, Tensor]:
    """Sources of each query by (‖x − y‖², index), at most k and none with ‖x − y‖² > radius²: (indices, counts).

    Takes float64 positions of one cloud, [N, D] and [M, D]; holds about 2^22 distances at a time.
    """
    width = len(source) if k is None else min(k, len(source))
    if width == 0 or len(query) == 0:
        return source.new_empty(0, dtype=torch.int64), torch.zeros(len(query), dtype=torch.int64, device=source.device)
    indices, counts = [], []
    for block in query.split(max(1, _PAIRS_PER_BLOCK // len(source))):
        squared = source.new_zeros(len(block), len(source))
        for axis in range(source.shape[1]):
            difference = block[:, axis, None] - source[None, :, axis]
            squared += difference * difference
        nearest, order = squared.sort(dim=1, stable=True)
        inside = torch.isfinite(nearest[:, :width])
        if radius is not None:
            inside &= nearest[:, :width] <= radius * radius
        indices.append(order[:, :width][inside])
        counts.append(inside.sum(dim=1))
    return torch.cat(indices), torch.cat(counts)

"""Subsampling in torch operations, on the positions' device: the definition of which points are kept."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGEST_CELL = 2.0**62


def kept_points(
    positions: Tensor, edges: NDArray[np.float64], corner: NDArray[np.float64], batch: Tensor | None
) -> Tensor | None:
    """For each point [N] the one that is kept in its voxel; None where a voxel number reaches 2^62."""
    exact = positions.to(torch.float64)
    low, size = (torch.tensor(values, device=exact.device) for values in (corner, edges))
    cells = ((exact - low) / size).floor()
    if not bool((cells.abs() < _LARGEST_CELL).all()):
        return None
    columns = [*([] if batch is None else [batch]), *cells.to(torch.int64).unbind(dim=1)]
    voxel, num_voxels = _group(columns, len(exact))
    return _nearest_to_mean(exact, voxel, num_voxels)[voxel]


def farthest_points(
    positions: Tensor, order: Tensor | None, counts: list[int], wanted: list[int], start: int
) -> Tensor:
    """``wanted`` points of each cloud, which are the next ``counts`` of ``order`` (None: of the positions)."""
    members = torch.arange(len(positions), device=positions.device) if order is None else order
    chosen = [
        cloud[_greedy(positions[cloud], number, start)]
        for cloud, number in zip(members.split(counts), wanted, strict=True)
        if number
    ]
    return torch.cat([members[:0], *chosen])


def _group(columns: list[Tensor], num_points: int) -> tuple[Tensor, int]:
    """Number the distinct rows of the columns: (number of each point's row [N], how many)."""
    group, num_groups = torch.zeros_like(columns[-1]), min(1, num_points)
    for column in columns if num_points else ():
        # Exact in Python integers: the span of int64 numbers may itself exceed int64.
        low, high = (int(end) for end in column.aminmax())
        span = high - low + 1
        if num_groups * span < 2**62:
            group, num_groups = group * span + (column - low), num_groups * span
        else:
            # Too many for one key: number what occurs (at most N of each), then two numbers always fit.
            occurring, column = torch.unique(column, return_inverse=True)
            group = torch.unique(group, return_inverse=True)[1] * len(occurring) + column
            num_groups = num_points * len(occurring)
    keys, group = torch.unique(group, return_inverse=True)
    return group, len(keys)


def _nearest_to_mean(positions: Tensor, voxel: Tensor, num_voxels: int) -> Tensor:
    """Index of the point nearest to its voxel's mean, for each voxel."""
    if num_voxels == 0:
        return voxel
    sorted_voxel, order = voxel.sort(stable=True)
    counts = torch.bincount(voxel, minlength=num_voxels)
    # Relative to the voxel's first point: coordinates far from the origin lose no digits in the sum.
    values = positions[order]
    values = values - values[counts.cumsum(0) - counts][sorted_voxel]
    # Rows of a segment are added in their order, that of the indices.
    means = torch.segment_reduce(values, "sum", lengths=counts, axis=0) / counts[:, None]
    squared = torch.zeros_like(values[:, 0])
    for difference in (values - means[sorted_voxel]).unbind(dim=1):
        squared = squared + difference * difference
    least = torch.segment_reduce(squared[:, None], "min", lengths=counts, axis=0)[:, 0]
    candidates = (squared == least[sorted_voxel]).nonzero()[:, 0]
    first = torch.searchsorted(sorted_voxel[candidates], torch.arange(num_voxels, device=voxel.device))
    return order[candidates[first]]


def _greedy(positions: Tensor, count: int, start: int) -> Tensor:
    # A contiguous row per axis; centered before any rounding to float32.
    wide = positions.to(torch.promote_types(positions.dtype, torch.float32))
    axes = (wide - wide[0]).T.contiguous()
    nearest = axes.new_full((axes.shape[1],), math.inf)
    squared, difference = torch.empty_like(nearest), torch.empty_like(nearest)
    chosen = torch.empty(count, dtype=torch.int64, device=positions.device)
    current = torch.tensor(min(start, axes.shape[1] - 1), device=positions.device)
    for step in range(count):
        chosen[step] = current
        squared.zero_()
        for axis in axes:
            # Not addcmul_, which rounds once on some machines and twice on others.
            torch.sub(axis, axis[current], out=difference)
            squared.add_(difference.mul_(difference))
        torch.fmin(nearest, squared, out=nearest)  # NaN: the difference of two distances beyond all numbers
        nearest[current] = -1.0  # copies have distance 0 and may still be chosen; the point itself may not
        current = nearest.argmax()
    return chosen

"""Subsampling in numpy and torch: the definition of which points are kept."""

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
    exact = positions.to(torch.float64).numpy()
    with np.errstate(over="ignore"):
        cells = np.floor((exact - corner) / edges)
    if not (np.abs(cells) < _LARGEST_CELL).all():
        return None
    columns = list(cells.T.astype(np.int64))
    if batch is not None:
        columns.insert(0, batch.numpy())
    voxel, num_voxels = _group(columns, len(exact))
    return torch.from_numpy(_nearest_to_mean(exact, voxel, num_voxels)[voxel])


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


def _group(columns: list[NDArray[np.int64]], num_points: int) -> tuple[NDArray[np.int64], int]:
    """Number the distinct rows of the columns: (number of each point's row [N], how many)."""
    group, num_groups = np.zeros(num_points, np.int64), min(1, num_points)
    for column in columns if num_points else ():
        # Exact in Python integers: the span of int64 numbers may itself exceed int64.
        low, span = int(column.min()), int(column.max()) - int(column.min()) + 1
        if num_groups * span < 2**62:
            group, num_groups = group * span + (column - low), num_groups * span
        else:
            # Too many for one key: number what occurs (at most N of each), then two numbers always fit.
            occurring, column = np.unique(column, return_inverse=True)
            group = np.unique(group, return_inverse=True)[1] * len(occurring) + column
            num_groups = num_points * len(occurring)
    keys, group = np.unique(group, return_inverse=True)
    return group, len(keys)


def _nearest_to_mean(positions: NDArray[np.float64], voxel: NDArray[np.int64], num_voxels: int) -> NDArray[np.int64]:
    """Index of the point nearest to its voxel's mean, for each voxel."""
    order = np.argsort(voxel, kind="stable")
    sorted_voxel = voxel[order]
    begins = np.flatnonzero(np.diff(sorted_voxel, prepend=-1))
    counts = np.diff(begins, append=len(order))
    squared = np.zeros(len(order))
    for axis in range(positions.shape[1] if num_voxels else 0):
        # Relative to the voxel's first point: coordinates far from the origin lose no digits in the sum.
        values = positions[order, axis]
        values = values - np.repeat(values[begins], counts)
        # In the order of the indices, which a reduction of numpy's would not promise.
        mean = np.bincount(sorted_voxel, weights=values) / counts
        difference = values - np.repeat(mean, counts)
        squared += difference * difference
    if num_voxels == 0:
        return np.empty(0, np.int64)
    nearest = squared == np.repeat(np.minimum.reduceat(squared, begins), counts)
    candidates = np.flatnonzero(nearest)
    first = np.unique(sorted_voxel[candidates], return_index=True)[1]
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

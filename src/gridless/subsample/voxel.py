"""One point per occupied voxel of a fixed grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gridless.arguments import check_batch, check_positions

_LARGEST_CELL = 2.0**62


@overload
def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    return_inverse: Literal[False] = False,
    origin: float | Sequence[float] = 0.0,
) -> Tensor: ...


@overload
def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    *,
    return_inverse: Literal[True],
    origin: float | Sequence[float] = 0.0,
) -> tuple[Tensor, Tensor]: ...


def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    return_inverse: bool = False,
    origin: float | Sequence[float] = 0.0,
) -> Tensor | tuple[Tensor, Tensor]:
    """In each occupied voxel, the point nearest to the mean of the voxel's points (the lowest index among equals).

    A point's voxel is floor((y − origin) / size), in float64; it does not depend on which other points there are.

    Args:
        positions: [N, D] floating point.
        size: edge of the voxels in the unit of the positions, one number or one per axis.
        batch: [N] int64 cloud of each point; clouds never share a voxel.
        return_inverse: also return where in ``kept`` each point's voxel is.
        origin: a corner of the grid, one number or one per axis.

    Returns:
        kept [V] int64, by cloud and then by index; with ``return_inverse`` also [N] int64.

    Raises:
        TypeError: positions are not floating point, or batch is not int64.
        ValueError: shapes do not fit, a coordinate is not finite, size <= 0, or a voxel number reaches 2^62.

    Example:
        >>> import torch
        >>> voxel_grid(torch.tensor([[0.1], [0.2], [0.3], [1.5]]), 1.0).tolist()
        [1, 3]
    """
    check_positions("voxel_grid", "positions", positions)
    check_batch("voxel_grid", "batch", batch, len(positions))
    exact = positions.detach().cpu().to(torch.float64).numpy()
    dim = exact.shape[1]
    edges, corner = _per_axis("size", size, dim), _per_axis("origin", origin, dim)
    if not (edges > 0).all():
        raise ValueError(f"voxel_grid: size must be positive, got {size}")
    with np.errstate(over="ignore"):
        cells = np.floor((exact - corner) / edges)
    if not (np.abs(cells) < _LARGEST_CELL).all():
        raise ValueError(
            f"voxel_grid: voxels of size {size} are too small for coordinates this far from origin {origin} "
            "(a voxel number reaches 2^62); use larger voxels or an origin near the points"
        )
    columns = [cells[:, axis].astype(np.int64) for axis in range(dim)]
    if batch is not None:
        columns.insert(0, batch.cpu().numpy())
    voxel, num_voxels = _group(columns, len(exact))
    kept = _nearest_to_mean(exact, voxel, num_voxels)
    by_index = np.argsort(kept) if batch is None else np.lexsort((kept, columns[0][kept]))
    kept_tensor = torch.from_numpy(kept[by_index]).to(positions.device)
    if not return_inverse:
        return kept_tensor
    rank = np.empty(num_voxels, np.int64)
    rank[by_index] = np.arange(num_voxels)
    return kept_tensor, torch.from_numpy(rank[voxel]).to(positions.device)


def _per_axis(name: str, value: float | Sequence[float], dim: int) -> NDArray[np.float64]:
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (dim,)) or not np.isfinite(values).all():
        raise ValueError(f"voxel_grid: {name} must be a finite number or {dim} of them, got {value}")
    return np.broadcast_to(values, (dim,))


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
        difference = values - np.repeat(np.add.reduceat(values, begins) / counts, counts)
        squared += difference * difference
    if num_voxels == 0:
        return np.empty(0, np.int64)
    nearest = squared == np.repeat(np.minimum.reduceat(squared, begins), counts)
    candidates = np.flatnonzero(nearest)
    first = np.unique(sorted_voxel[candidates], return_index=True)[1]
    return order[candidates[first]]

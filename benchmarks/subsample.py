"""Subsampling beside plain torch, and beside fpsample where it imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.contenders import OURS
from benchmarks.gate import disagreement
from benchmarks.rows import Row
from benchmarks.suite import SubsampleCase
from benchmarks.timing import medians_in_turn
from gridless.neighbors import knn
from gridless.subsample import farthest, voxel_grid

_ROUNDING = 1e-12
# Another choice between equals leads to other farthest points; how far the rest is from them stays about the same.
_MOST_FARTHER = 1.02
_BUCKETS_HEIGHT = 7  # what fpsample recommends for medium sizes

Calls = Mapping[str, Callable[[], Tensor]]


def measure_subsampling(name: str, case: SubsampleCase) -> list[Row]:
    """A row for each contender and number of points."""
    rows = []
    for num_points in case.points:
        points = torch.rand(num_points, case.dim, generator=torch.Generator().manual_seed(0))
        kept = max(1, num_points // case.one_of)
        calls = _farthest(points, kept) if case.task == "farthest" else _voxels(points, kept)
        chosen = {contender: call() for contender, call in calls.items()}
        medians = medians_in_turn(calls, case.repeats, case.seconds)
        for contender, milliseconds in medians.items():
            note = _disagreement(case, points, chosen[contender], chosen["plain"])
            row = Row(name, contender, case.task, num_points, dim=case.dim, failed=bool(note), note=note)
            if not note:
                row = replace(row, milliseconds=milliseconds, times_ours=milliseconds / medians[OURS])
            rows.append(row)
    return rows


def _voxels(points: Tensor, kept: int) -> Calls:
    """Voxels of which about ``kept`` fill the unit cube."""
    size = kept ** (-1 / points.shape[1])
    return {OURS: lambda: voxel_grid(points, size), "plain": lambda: _plain_voxels(points, size)}


def _farthest(points: Tensor, kept: int) -> Calls:
    calls = {OURS: lambda: farthest(points, kept), "plain": lambda: _plain_farthest(points, kept)}
    try:
        from fpsample import bucket_fps_kdline_sampling
    except ImportError:
        return calls

    def bucketed() -> Tensor:
        found = bucket_fps_kdline_sampling(points.numpy(), kept, h=_BUCKETS_HEIGHT, start_idx=0)
        return torch.from_numpy(found.astype("int64"))

    return {**calls, "fpsample": bucketed}


def _plain_voxels(points: Tensor, size: float) -> Tensor:
    """The point nearest to its voxel's mean, as one writes it in torch."""
    cells = (points.double() / size).floor().long()
    _, voxel, counts = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), points.shape[1], dtype=torch.float64).index_add_(0, voxel, points.double())
    squared = (points - (sums / counts[:, None])[voxel]).square().sum(dim=1)
    least = squared.new_full((len(counts),), torch.inf).scatter_reduce_(0, voxel, squared, "amin")
    nearest = (squared <= least[voxel] + _ROUNDING).nonzero()[:, 0]  # both, where a voxel has two points
    first = torch.full_like(counts, len(points)).scatter_reduce_(0, voxel[nearest], nearest, "amin")
    return first.sort()[0]


def _plain_farthest(points: Tensor, kept: int) -> Tensor:
    """Each point compared with every chosen one, as one writes it in torch."""
    nearest = torch.full((len(points),), torch.inf)
    chosen = torch.zeros(kept, dtype=torch.int64)
    for place in range(1, kept):
        nearest = torch.minimum(nearest, (points - points[chosen[place - 1]]).square().sum(dim=1))
        chosen[place] = nearest.argmax()
    return chosen


def _disagreement(case: SubsampleCase, points: Tensor, kept: Tensor, expected: Tensor) -> str:
    """What is wrong with the points that are kept, by plain torch's; "" where they agree."""
    if case.task == "voxel_grid":
        agreement = float(torch.isin(expected, kept).double().mean()) if len(kept) == len(expected) else 0.0
        return disagreement(agreement, "the points agree with plain torch's")
    if len(kept.unique()) != len(expected):
        return f"{len(kept.unique())} points, not {len(expected)}"
    farther = _largest_distance(points, kept) / _largest_distance(points, expected)
    return "" if farther <= _MOST_FARTHER else f"points are {farther:.3f} times as far from those that are kept"


def _largest_distance(points: Tensor, kept: Tensor) -> float:
    """Of any point to the nearest that is kept."""
    nearest = knn(points[kept], points, 1).indices
    return float((points - points[kept][nearest]).norm(dim=1).max())

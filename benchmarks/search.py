"""Search beside the k-d trees of scipy and pykdtree, building the tree included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.contenders import OURS
from benchmarks.gate import disagreement
from benchmarks.rows import Row
from benchmarks.suite import SearchCase
from benchmarks.timing import medians_in_turn
from gridless.neighbors import Neighborhoods, knn, within_radius


def measure_search(name: str, case: SearchCase) -> list[Row]:
    """A row for each contender, number of points and dimension."""
    rows = []
    for dim in case.dims:
        for num_points in case.points:
            points = torch.rand(num_points, dim, generator=torch.Generator().manual_seed(0))
            calls = _nearest(points, case.neighbors) if case.task == "knn" else _within(points, case.neighbors)
            note = _disagreement(case, calls)
            medians = medians_in_turn(calls, case.repeats, case.seconds)
            for contender, milliseconds in medians.items():
                row = Row(name, contender, case.task, num_points, case.neighbors, dim=dim, failed=bool(note), note=note)
                if not note:
                    row = replace(row, milliseconds=milliseconds, times_ours=milliseconds / medians[OURS])
                rows.append(row)
    return rows


def _nearest(points: torch.Tensor, k: int) -> dict[str, Callable[[], Any]]:
    array, threads = _array(points), torch.get_num_threads()
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: knn(points, points, k),
        "scipy": lambda: cKDTree(array).query(array, k, workers=threads)[1],
    }
    try:
        from pykdtree.kdtree import KDTree
    except ImportError:
        return calls
    return {**calls, "pykdtree": lambda: KDTree(array).query(array, k)[1]}


def _within(points: torch.Tensor, k: int) -> dict[str, Callable[[], Any]]:
    """A radius within which half of the points have at least k neighbors."""
    array, threads = _array(points), torch.get_num_threads()
    farthest = points[knn(points, points, k).indices[k - 1 :: k]]
    radius = float((points - farthest).double().norm(dim=1).median())
    return {
        OURS: lambda: within_radius(points, points, radius),
        "scipy": lambda: cKDTree(array).query_ball_point(array, radius, workers=threads),
    }


def _array(points: torch.Tensor) -> NDArray[np.float64]:
    return points.numpy().astype(np.float64)


def _disagreement(case: SearchCase, calls: dict[str, Callable[[], Any]]) -> str:
    """What is wrong with our rows, by scipy's; "" where they agree."""
    found: Neighborhoods = calls[OURS]()
    expected = calls["scipy"]()
    if case.task == "knn":
        agreement = float((found.indices.numpy().reshape(-1, case.neighbors) == expected).mean())
    else:
        agreement = float((found.counts().numpy() == [len(row) for row in expected]).mean())
    return disagreement(agreement, "the entries agree with scipy's")

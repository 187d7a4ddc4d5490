"""Search: native k-d tree against scipy's bare cKDTree (and pykdtree where installed), tree builds included."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from gridless.neighbors import knn, within_radius

K = 16


def median_seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each call; the calls take turns, so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def rows(
    num_points: tuple[int, ...] = (10_000, 100_000, 1_000_000), dims: tuple[int, ...] = (2, 3, 6), repeats: int = 3
) -> list[dict[str, Any]]:
    """One row for each task, number of points and dimension: seconds of every contender, checked for equal rows."""
    results = []
    for dim in dims:
        for count in num_points:
            points = torch.rand(count, dim, generator=torch.Generator().manual_seed(0))
            array = points.numpy().astype(np.float64)
            nearest = knn(points, points, K, impl="native")
            reached = points[nearest.indices[K - 1 :: K]]
            radius = float((points - reached).double().norm(dim=1).median())
            threads = torch.get_num_threads()

            def scipy_radius(array: np.ndarray = array, radius: float = radius, threads: int = threads) -> object:
                return cKDTree(array).query_ball_point(array, radius, workers=threads)

            tasks: dict[str, dict[str, Callable[[], Any]]] = {
                "knn": {
                    "native": lambda points=points: knn(points, points, K, impl="native"),
                    "scipy": lambda array=array, threads=threads: cKDTree(array).query(array, K, workers=threads),
                },
                "within_radius": {
                    "native": lambda points=points, radius=radius: within_radius(points, points, radius, impl="native"),
                    "scipy": scipy_radius,
                },
            }
            if importlib.util.find_spec("pykdtree"):
                from pykdtree.kdtree import KDTree

                tasks["knn"]["pykdtree"] = lambda array=array: KDTree(array).query(array, K)
            for task, calls in tasks.items():
                _check(task, calls)
                seconds = median_seconds(calls, repeats)
                results.append({"task": task, "points": count, "dim": dim, **seconds})
    return results


def _check(task: str, calls: dict[str, Callable[[], Any]]) -> None:
    found, expected = calls["native"](), calls["scipy"]()
    if task == "knn":
        # Places may differ where distances tie within rounding.
        agree = (found.indices.numpy().reshape(-1, K) == expected[1]).mean()
    else:
        lengths = np.array([len(row) for row in expected])
        agree = (found.counts().numpy() == lengths).mean()
    if agree < 0.999:
        raise SystemExit(f"{task}: only {agree:.4%} of the entries agree with scipy's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 3, 6])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    for row in rows(tuple(arguments.points), tuple(arguments.dims), arguments.repeats):
        times = "  ".join(f"{name} {row[name]:8.4f} s" for name in ("native", "scipy", "pykdtree") if name in row)
        ratio = row["scipy"] / row["native"]
        print(f"{row['task']:14} N={row['points']:8} D={row['dim']}  {times}  scipy/native {ratio:.1f}", flush=True)


if __name__ == "__main__":
    main()

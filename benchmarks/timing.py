"""Medians of repeats taken in turn, so that what disturbs the machine disturbs everyone, and nobody the next."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

_GEMM_SIZE = 2048
GEMM = f"{_GEMM_SIZE}³ GEMM"


def _nothing_to_wait_for() -> None: ...


def medians_in_turn(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    seconds: float,
    wait: Callable[[], None] = _nothing_to_wait_for,
) -> dict[str, float]:
    """Median milliseconds of each.

    In every turn a first run is not timed: it takes back the caches and the memory from whoever was before.

    Args:
        runs: what to time, by name.
        repeats: rounds in which each has one turn.
        seconds: after so long no further round begins; there is always one.
        wait: returns when a run's work is done, where runs only ask for it.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    started = time.perf_counter()
    for _ in range(repeats):
        for name, run in runs.items():
            run()
            wait()
            start = time.perf_counter()
            run()
            wait()
            times[name].append(1e3 * (time.perf_counter() - start))
        if time.perf_counter() - started > seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def make_gemm() -> Callable[[], torch.Tensor]:
    """A product of two float32 matrices, warm: what the machine can do at best."""
    left, right = torch.randn(2, _GEMM_SIZE, _GEMM_SIZE)
    out = left @ right
    return lambda: torch.mm(left, right, out=out)


def gemm_gflops(milliseconds: float) -> float:
    """Rate of ``make_gemm``'s product."""
    return 2 * _GEMM_SIZE**3 / milliseconds / 1e6

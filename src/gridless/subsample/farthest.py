"""Farthest-point sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gridless.arguments import check_batch, check_count, check_positions
from gridless.subsample.implementations import implementation_for


def farthest(
    positions: Tensor,
    num_samples: int | None = None,
    ratio: float | None = None,
    batch: Tensor | None = None,
    start: int = 0,
    impl: str = "auto",
) -> Tensor:
    """Greedy farthest-point sampling: each next point is the farthest from those already chosen in its cloud.

    Equal distances go to the lowest index. Distances are Σ_d (x_d − y_d)², added axis by axis, in float32 (float64 for
    float64 positions, whose differences may need it) and of coordinates relative to the cloud's first point.

    Args:
        positions: [N, D] floating point.
        num_samples: points per cloud; a cloud with fewer returns all of its points.
        ratio: in (0, 1], instead of ``num_samples``: ceil(ratio * points of the cloud).
        batch: [N] int64 cloud of each point.
        start: which point of each cloud, counted within the cloud, is chosen first (the last one in smaller clouds).
        impl: "native" (compiled, on the CPU), "triton" (on GPUs), "reference" (torch, on the positions' device) or
            "auto", the fastest that can run where the positions are; the same points.

    Returns:
        [S] int64 indices, cloud after cloud in increasing cloud id, within a cloud in the order of selection.

    Raises:
        TypeError: positions are not floating point, batch is not int64, or num_samples or start is not an int.
        ValueError: shapes do not fit, a coordinate is not finite, or not exactly one of num_samples and ratio is given
            in its range.
        UnsupportedError: the named implementation cannot run here.

    Example:
        >>> import torch
        >>> farthest(torch.tensor([[0.0], [1.0], [5.0], [2.0]]), num_samples=3).tolist()
        [0, 2, 3]
    """
    check_positions("farthest", "positions", positions)
    check_batch("farthest", "batch", batch, len(positions))
    if (num_samples is None) == (ratio is None):
        raise ValueError(f"farthest: give num_samples or ratio, got num_samples={num_samples}, ratio={ratio}")
    if num_samples is not None:
        num_samples = check_count("farthest", "num_samples", num_samples, least=0)
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"farthest: ratio must be in (0, 1], got {ratio}")
    start = check_count("farthest", "start", start, least=0)
    implementation, place = implementation_for("farthest", impl, positions.device)
    order, counts = None, [len(positions)]
    if batch is not None:
        sorted_batch, order = batch.to(place).sort(stable=True)
        counts = torch.unique_consecutive(sorted_batch, return_counts=True)[1].tolist()
    wanted = [
        min(num_samples, count) if num_samples is not None else math.ceil((ratio or 0) * count) for count in counts
    ]
    return implementation.farthest_points(positions.detach().to(place), order, counts, wanted, start).to(
        positions.device
    )

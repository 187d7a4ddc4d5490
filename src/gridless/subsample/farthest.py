"""Farthest-point sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gridless.arguments import check_batch, check_positions


def farthest(
    positions: Tensor,
    num_samples: int | None = None,
    ratio: float | None = None,
    batch: Tensor | None = None,
    start: int = 0,
) -> Tensor:
    """Greedy farthest-point sampling: each next point is the farthest from those already chosen in its cloud.

    Equal distances go to the lowest index. Coordinates are taken relative to the cloud's first point and compared in
    float32 (float64 for float64 positions, whose differences may need it).

    Args:
        positions: [N, D] floating point.
        num_samples: points per cloud; a cloud with fewer returns all of its points.
        ratio: in (0, 1], instead of ``num_samples``: ceil(ratio * points of the cloud).
        batch: [N] int64 cloud of each point.
        start: which point of each cloud, counted within the cloud, is chosen first (the last one in smaller clouds).

    Returns:
        [S] int64 indices, cloud after cloud in increasing cloud id, within a cloud in the order of selection.

    Raises:
        TypeError: positions are not floating point, or batch is not int64.
        ValueError: shapes do not fit, a coordinate is not finite, or not exactly one of num_samples and ratio is given
            in its range.

    Example:
        >>> import torch
        >>> farthest(torch.tensor([[0.0], [1.0], [5.0], [2.0]]), num_samples=3).tolist()
        [0, 2, 3]
    """
    check_positions("farthest", "positions", positions)
    check_batch("farthest", "batch", batch, len(positions))
    if (num_samples is None) == (ratio is None):
        raise ValueError(f"farthest: give num_samples or ratio, got num_samples={num_samples}, ratio={ratio}")
    if num_samples is not None and num_samples < 0:
        raise ValueError(f"farthest: num_samples must be at least 0, got {num_samples}")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"farthest: ratio must be in (0, 1], got {ratio}")
    if start < 0:
        raise ValueError(f"farthest: start must be at least 0, got {start}")
    if batch is None:
        clouds = [torch.arange(len(positions), device=positions.device)]
    else:
        sorted_batch, order = batch.to(positions.device).sort(stable=True)
        clouds = list(order.split(torch.unique_consecutive(sorted_batch, return_counts=True)[1].tolist()))
    chosen = [torch.empty(0, dtype=torch.int64, device=positions.device)]
    for members in clouds:
        wanted = num_samples if ratio is None else math.ceil(ratio * len(members))
        assert wanted is not None
        if len(members) and wanted:
            chosen.append(members[_greedy(positions.detach()[members], min(wanted, len(members)), start)])
    return torch.cat(chosen)


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
            torch.sub(axis, axis[current], out=difference)
            squared.addcmul_(difference, difference)
        torch.minimum(nearest, squared, out=nearest)
        nearest[current] = -1.0  # copies have distance 0 and may still be chosen; the point itself may not
        current = nearest.argmax()
    return chosen

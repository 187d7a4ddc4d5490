"""One point per occupied voxel of a fixed grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from gridless.arguments import check_batch, check_positions, per_axis
from gridless.subsample.implementations import implementation_for


@overload
def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    return_inverse: Literal[False] = False,
    origin: float | Sequence[float] = 0.0,
    impl: str = "auto",
) -> Tensor: ...


@overload
def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    *,
    return_inverse: Literal[True],
    origin: float | Sequence[float] = 0.0,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def voxel_grid(
    positions: Tensor,
    size: float | Sequence[float],
    batch: Tensor | None = None,
    return_inverse: bool = False,
    origin: float | Sequence[float] = 0.0,
    impl: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """In each occupied voxel, the point nearest to the mean of the voxel's points (the lowest index among equals).

    A point's voxel is floor((y − origin) / size), in float64; it does not depend on which other points there are. Means
    are summed in float64 in the order of the indices.

    Args:
        positions: [N, D] floating point.
        size: edge of the voxels in the unit of the positions, one number or one per axis.
        batch: [N] int64 cloud of each point; clouds never share a voxel.
        return_inverse: also return where in ``kept`` each point's voxel is.
        origin: a corner of the grid, one number or one per axis.
        impl: "native" (compiled, on the CPU), "triton" (on GPUs), "reference" (torch, on the positions' device) or
            "auto", the fastest that can run where the positions are; the same points.

    Returns:
        kept [V] int64, by cloud and then by index; with ``return_inverse`` also [N] int64.

    Raises:
        TypeError: positions are not floating point, or batch is not int64.
        ValueError: shapes do not fit, a coordinate is not finite, size <= 0, or a voxel number reaches 2^62.
        UnsupportedError: the named implementation cannot run here.

    Example:
        >>> import torch
        >>> voxel_grid(torch.tensor([[0.1], [0.2], [0.3], [1.5]]), 1.0).tolist()
        [1, 3]
    """
    check_positions("voxel_grid", "positions", positions)
    check_batch("voxel_grid", "batch", batch, len(positions))
    implementation, place = implementation_for("voxel_grid", impl, positions.device)
    dim = positions.shape[1]
    edges, corner = per_axis("voxel_grid", "size", size, dim), per_axis("voxel_grid", "origin", origin, dim)
    if not (edges > 0).all():
        raise ValueError(f"voxel_grid: size must be positive, got {size}")
    clouds = None if batch is None else batch.to(place)
    kept_of = implementation.kept_points(positions.detach().to(place), edges, corner, clouds)
    if kept_of is None:
        raise ValueError(
            f"voxel_grid: voxels of size {size} are too small for coordinates this far from origin {origin} "
            "(a voxel number reaches 2^62); use larger voxels or an origin near the points"
        )
    kept = (kept_of == torch.arange(len(kept_of), device=place)).nonzero()[:, 0]
    if clouds is not None:
        kept = kept[clouds[kept].argsort(stable=True)]
    if not return_inverse:
        return kept.to(positions.device)
    rank = torch.empty_like(kept_of)
    rank[kept] = torch.arange(len(kept), device=place)
    return kept.to(positions.device), rank[kept_of].to(positions.device)

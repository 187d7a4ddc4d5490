"""knn, within_radius and local_density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gridless.arguments import check_count
from gridless.neighbors.neighborhoods import Neighborhoods
from gridless.neighbors.point_index import PointIndex


def knn(
    source_positions: Tensor,
    query_positions: Tensor,
    k: int,
    source_batch: Tensor | None = None,
    query_batch: Tensor | None = None,
    impl: str = "auto",
) -> Neighborhoods:
    """The k nearest sources of each query, nearest first; equal distances in the order of the source indices.

    Distances are Σ_d (x_d − y_d)², added axis by axis in float64; every implementation gives exactly the same rows.

    Args:
        source_positions: [N, D] floating point, any D >= 1.
        query_positions: [M, D].
        k: rows hold min(k, sources in the query's cloud) pairs.
        source_batch: [N] int64 cloud of each source, in any order; pairs never cross clouds.
        query_batch: [M] int64; given together with ``source_batch``.
        impl: "native" (compiled k-d tree), "kdtree" (scipy's), "grid" (cells; runs on the positions' device, up to four
            dimensions), "reference" (exhaustive, likewise) or "auto": on a GPU "grid", or "reference" with more
            dimensions, else the first of the trees that can run.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes do not fit, a coordinate is NaN or infinite, or k < 1.
        UnsupportedError: impl is "native" and there are no compiled kernels, or "grid" and D > 4.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn(line, line, 2).indices.tolist()
        [0, 1, 1, 0, 2, 1]
    """
    return PointIndex(source_positions, source_batch, impl, "knn").knn(query_positions, k, query_batch)


def within_radius(
    source_positions: Tensor,
    query_positions: Tensor,
    radius: float,
    max_neighbors: int | None = None,
    source_batch: Tensor | None = None,
    query_batch: Tensor | None = None,
    impl: str = "auto",
) -> Neighborhoods:
    """The sources with ‖x − y‖² <= radius² for each query, nearest first; ties as in :func:`knn`.

    Args:
        source_positions: [N, D] floating point, any D >= 1.
        query_positions: [M, D].
        radius: positive, in the unit of the positions; compared in float64.
        max_neighbors: keep only so many nearest sources in each row.
        source_batch: [N] int64 cloud of each source, in any order; pairs never cross clouds.
        query_batch: [M] int64; given together with ``source_batch``.
        impl: "native" (compiled k-d tree), "kdtree" (scipy's), "grid" (cells; runs on the positions' device, up to four
            dimensions), "reference" (exhaustive, likewise) or "auto": on a GPU "grid", or "reference" with more
            dimensions, else the first of the trees that can run.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes do not fit, a coordinate is NaN or infinite, radius <= 0, or max_neighbors < 1.
        UnsupportedError: impl is "native" and there are no compiled kernels, or "grid" and D > 4.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> within_radius(line, line, 1.0).counts().tolist()
        [2, 2, 1]
    """
    index = PointIndex(source_positions, source_batch, impl, "within_radius")
    return index.within_radius(query_positions, radius, max_neighbors, query_batch)


def local_density(positions: Tensor, k: int = 16, batch: Tensor | None = None) -> Tensor:
    """Sampling density p(y) ≈ k / (V_D r_k^D) in points per unit volume, V_D the volume of the unit ball.

    r_k is the distance to the k-th nearest other point (to the last one in smaller clouds, k lowered likewise). Where
    r_k is 0 (k or more copies), the smallest positive r_k of the same cloud stands in, or 1 where there is none;
    a point alone in its cloud gets density 1. Values beyond the dtype's range are clamped to it.

    Args:
        positions: [N, D] floating point.
        k: neighbors to count.
        batch: [N] int64 cloud of each point.

    Returns:
        [N] in the dtype of ``positions``, finite and positive.

    Raises:
        TypeError, ValueError: as :func:`knn`.

    Example:
        >>> import torch
        >>> local_density(torch.tensor([[0.0], [1.0], [2.0]]), k=2).tolist()
        [0.5, 1.0, 0.5]
    """
    k = check_count("local_density", "k", k)
    neighborhoods = knn(positions, positions, k + 1, batch, batch)
    exact = positions.detach().to(torch.float64)
    num_points, dim = exact.shape
    if num_points == 0:
        return positions.new_empty(0)
    others = neighborhoods.counts() - 1
    farthest = neighborhoods.indices[neighborhoods.offsets[1:] - 1]
    distance = (exact - exact[farthest]).norm(dim=1)
    cloud = torch.zeros_like(farthest) if batch is None else torch.unique(batch, return_inverse=True)[1]
    positive = torch.where(distance > 0, distance, math.inf)
    smallest = exact.new_full((int(cloud.max()) + 1,), math.inf).scatter_reduce(0, cloud, positive, "amin")
    smallest = torch.where(torch.isfinite(smallest), smallest, 1.0)
    distance = torch.where(distance > 0, distance, smallest[cloud])
    log_volume = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1) + dim * distance.log()
    density = torch.where(others > 0, (others.clamp(min=1).to(torch.float64).log() - log_volume).exp(), 1.0)
    limits = torch.finfo(positions.dtype)
    return density.clamp(limits.tiny, limits.max).to(positions.dtype)

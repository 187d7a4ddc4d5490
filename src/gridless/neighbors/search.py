"""knn, within_radius and local_density: argument checks, clouds of a batch, choice of implementation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gridless.arguments import check_batch, check_positions
from gridless.neighbors import kdtree, reference
from gridless.neighbors.neighborhoods import Neighborhoods

_IMPLEMENTATIONS = ("auto", "reference", "kdtree")


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
        impl: "auto" (k-d tree), "kdtree" or "reference" (exhaustive; runs on the positions' device).

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes do not fit, a coordinate is NaN or infinite, or k < 1.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn(line, line, 2).indices.tolist()
        [0, 1, 1, 0, 2, 1]
    """
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"knn: k must be an int, got {type(k).__name__}")
    if k < 1:
        raise ValueError(f"knn: k must be at least 1, got {k}")
    return _search("knn", source_positions, query_positions, k, None, source_batch, query_batch, impl)


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
        impl: "auto" (k-d tree), "kdtree" or "reference" (exhaustive; runs on the positions' device).

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes do not fit, a coordinate is NaN or infinite, radius <= 0, or max_neighbors < 1.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> within_radius(line, line, 1.0).counts().tolist()
        [2, 2, 1]
    """
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(f"within_radius: radius must be positive and finite, got {radius}")
    if max_neighbors is not None and max_neighbors < 1:
        raise ValueError(f"within_radius: max_neighbors must be at least 1 or None, got {max_neighbors}")
    return _search(
        "within_radius",
        source_positions,
        query_positions,
        max_neighbors,
        float(radius),
        source_batch,
        query_batch,
        impl,
    )


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
    density = torch.where(others > 0, (others.clamp(min=1).log() - log_volume).exp(), 1.0)
    limits = torch.finfo(positions.dtype)
    return density.clamp(limits.tiny, limits.max).to(positions.dtype)


def _search(
    function: str,
    source: Tensor,
    query: Tensor,
    k: int | None,
    radius: float | None,
    source_batch: Tensor | None,
    query_batch: Tensor | None,
    impl: str,
) -> Neighborhoods:
    if impl not in _IMPLEMENTATIONS:
        raise ValueError(f"{function}: impl must be one of {', '.join(_IMPLEMENTATIONS)}, got {impl!r}")
    check_positions(function, "source_positions", source)
    check_positions(function, "query_positions", query)
    if source.shape[1] != query.shape[1]:
        raise ValueError(
            f"{function}: source_positions and query_positions must have the same D, "
            f"got shapes {tuple(source.shape)} and {tuple(query.shape)}"
        )
    if (source_batch is None) != (query_batch is None):
        raise ValueError(f"{function}: give both source_batch and query_batch, or neither")
    device = query.device
    place = device if impl == "reference" else torch.device("cpu")
    exact_source = source.detach().to(place, torch.float64)
    exact_query = query.detach().to(place, torch.float64)

    if source_batch is None or query_batch is None:
        indices, counts = _search_cloud(exact_source, exact_query, k, radius, impl)
    else:
        check_batch(function, "source_batch", source_batch, len(source))
        check_batch(function, "query_batch", query_batch, len(query))
        indices, counts = _search_batch(
            exact_source, exact_query, k, radius, source_batch.to(place), query_batch.to(place), impl
        )
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Neighborhoods(indices.to(device), offsets.to(device))


def _search_cloud(
    source: Tensor, query: Tensor, k: int | None, radius: float | None, impl: str
) -> tuple[Tensor, Tensor]:
    if impl == "reference":
        return reference.search_rows(source, query, k, radius)
    source_array, query_array = source.numpy(), query.numpy()
    if k is None:
        assert radius is not None
        indices, counts = kdtree.radius_rows(source_array, query_array, radius)
    else:
        indices, counts = kdtree.knn_rows(source_array, query_array, k, radius)
    return torch.from_numpy(np.asarray(indices, np.int64)), torch.from_numpy(np.asarray(counts, np.int64))


def _search_batch(
    source: Tensor,
    query: Tensor,
    k: int | None,
    radius: float | None,
    source_batch: Tensor,
    query_batch: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    """One search per cloud; rows return to the order of the queries."""
    # Stable, so that within a cloud the order of the sources, and with it every tie, stays as given.
    sorted_source_batch, source_order = source_batch.sort(stable=True)
    sorted_query_batch, query_order = query_batch.sort(stable=True)
    clouds, query_counts = torch.unique_consecutive(sorted_query_batch, return_counts=True)
    begins = torch.searchsorted(sorted_source_batch, clouds).tolist()
    ends = torch.searchsorted(sorted_source_batch, clouds, right=True).tolist()
    indices, counts = [source_order[:0]], [source_order[:0]]
    for begin, end, rows in zip(begins, ends, query_order.split(query_counts.tolist()), strict=True):
        members = source_order[begin:end]
        found, lengths = _search_cloud(source[members], query[rows], k, radius, impl)
        indices.append(members[found])
        counts.append(lengths)
    by_cloud = Neighborhoods.from_counts(torch.cat(indices), torch.cat(counts))
    back = torch.empty_like(query_order)
    back[query_order] = torch.arange(len(query_order), device=query_order.device)
    reordered = by_cloud.select_queries(back)
    return reordered.indices, reordered.counts()

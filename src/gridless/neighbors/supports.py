"""Supports that no search by distance finds: all pairs, the past of a series, hops of a graph, periodic images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.arguments import check_batch, check_count, check_positions, check_tensor
from gridless.neighbors.neighborhoods import Neighborhoods

_PAIRS_PER_BLOCK = 1 << 19


@dataclass(frozen=True)
class AllPairs:
    """The support in which every query sees every source, never held as a whole.

    N(i) = {0, …, N − 1} for all M queries; layers that take it work through :meth:`blocks`.

    Args:
        num_sources: N.
        num_queries: M.

    Raises:
        ValueError: a number is negative.

    Example:
        >>> AllPairs(num_sources=2, num_queries=3).rows(0, 2).indices.tolist()
        [0, 1, 0, 1]
    """

    num_sources: int
    num_queries: int

    def __post_init__(self) -> None:
        if self.num_sources < 0 or self.num_queries < 0:
            raise ValueError(f"AllPairs: numbers must not be negative, got {self.num_sources} and {self.num_queries}")

    def rows(self, start: int, stop: int, device: torch.device | str = "cpu") -> Neighborhoods:
        """The rows of queries ``start`` to ``stop``."""
        num_rows = stop - start
        offsets = torch.arange(num_rows + 1, device=device) * self.num_sources
        return Neighborhoods(torch.arange(self.num_sources, device=device).repeat(num_rows), offsets)

    def blocks(self, pairs_per_block: int = _PAIRS_PER_BLOCK) -> Iterator[tuple[int, int]]:
        """First and last + 1 query of blocks with about so many pairs (one query at least)."""
        step = max(1, pairs_per_block // max(1, self.num_sources))
        for start in range(0, self.num_queries, step):
            yield start, min(start + step, self.num_queries)


def all_pairs(source_batch: Tensor, query_batch: Tensor, include_self: bool = True) -> Neighborhoods:
    """Every source of the query's own cloud, as for the atoms of each molecule: N(i) = {j : cloud of j = cloud of i}.

    Args:
        source_batch: [N] int64 cloud of each source, in any order.
        query_batch: [M] int64 cloud of each query.
        include_self: False leaves out the pairs i = j, for queries that are the sources.

    Raises:
        TypeError: a batch is not int64.
        ValueError: a batch is not one-dimensional, or include_self is False and the batches differ.

    Example:
        >>> batch = torch.tensor([0, 0, 1])
        >>> all_pairs(batch, batch).indices.tolist()
        [0, 1, 0, 1, 2]
    """
    for name, batch in (("source_batch", source_batch), ("query_batch", query_batch)):
        check_tensor("all_pairs", name, batch)
        check_batch("all_pairs", name, batch, batch.numel())
    if not include_self and not torch.equal(source_batch, query_batch):
        raise ValueError("all_pairs: include_self=False needs queries that are the sources, but the batches differ")
    by_cloud, order = source_batch.sort(stable=True)
    begins = torch.searchsorted(by_cloud, query_batch)
    rows = _runs(order, begins, torch.searchsorted(by_cloud, query_batch, right=True))
    return rows if include_self else rows.select_pairs(rows.indices != rows.query_indices())


def preceding(
    source_times: Tensor,
    query_times: Tensor,
    k: int | None = None,
    duration: float | None = None,
    source_batch: Tensor | None = None,
    query_batch: Tensor | None = None,
) -> Neighborhoods:
    """Causal supports: the sources at or before each query's time, latest first.

    N(i) = {j : t_i − duration <= t_j <= t_i}, of which the k latest are kept.

    Args:
        source_times: [N] floating point, in any order.
        query_times: [M] in the same unit.
        k: rows hold at most so many sources; None keeps all.
        duration: how far back a query looks; None to the beginning.
        source_batch: [N] int64 series of each source; pairs never cross series.
        query_batch: [M] int64; given together with ``source_batch``.

    Raises:
        TypeError: an argument has the wrong dtype.
        ValueError: shapes do not fit, a time is NaN or infinite, k < 1 or duration < 0.

    Example:
        >>> times = torch.tensor([0.0, 1.0, 3.0])
        >>> preceding(times, times, k=2).indices.tolist()
        [0, 1, 0, 2, 1]
    """
    if source_times.ndim != 1 or query_times.ndim != 1:
        shapes = f"{tuple(source_times.shape)} and {tuple(query_times.shape)}"
        raise ValueError(f"preceding: source_times must be [N] and query_times [M], got shapes {shapes}")
    check_positions("preceding", "source_times", source_times[:, None])
    check_positions("preceding", "query_times", query_times[:, None])
    if k is not None:
        k = check_count("preceding", "k", k)
    if duration is not None and not duration >= 0:
        raise ValueError(f"preceding: duration must not be negative, got {duration}")
    if (source_batch is None) != (query_batch is None):
        raise ValueError("preceding: give both source_batch and query_batch, or neither")
    check_batch("preceding", "source_batch", source_batch, len(source_times))
    check_batch("preceding", "query_batch", query_batch, len(query_times))
    source, query = source_times.detach().to(torch.float64), query_times.detach().to(torch.float64)
    earliest = torch.full_like(query, -math.inf) if duration is None else query - duration
    distinct, ranks = torch.unique(torch.cat([source, query, earliest]), return_inverse=True)
    source_key, query_key, earliest_key = ranks.split([len(source), len(query), len(query)])
    if source_batch is not None and query_batch is not None:
        series = torch.unique(torch.cat([source_batch, query_batch]), return_inverse=True)[1] * len(distinct)
        source_key = source_key + series[: len(source)]
        query_key, earliest_key = (key + series[len(source) :] for key in (query_key, earliest_key))
    by_time, order = source_key.sort(stable=True)
    stops = torch.searchsorted(by_time, query_key, right=True)
    begins = torch.searchsorted(by_time, earliest_key)
    if k is not None:
        begins = torch.maximum(begins, stops - k)
    # Latest first: the same runs, counted from the other end.
    return _runs(order.flip(0), len(order) - stops, len(order) - begins)


def within_hops(neighborhoods: Neighborhoods, hops: int) -> Neighborhoods:
    """The points at most ``hops`` edges away from each point of a graph or mesh, itself included.

    N_k(i) = {i} ∪ {l : l ∈ N(j), j ∈ N_{k−1}(i)}; rows are sorted by index, without repetitions.

    Args:
        neighborhoods: direct neighbors of each of the N points among these points, as from
            ``Neighborhoods.from_edge_index`` or ``Neighborhoods.from_triangles`` (the two-ring is ``hops=2``).
        hops: at least 1.

    Raises:
        ValueError: hops < 1, or an index is not one of the N points.

    Example:
        >>> path = Neighborhoods.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> within_hops(path, 2).counts().tolist()
        [3, 3, 3]
    """
    hops = check_count("within_hops", "hops", hops)
    num_points = neighborhoods.num_queries
    neighborhoods.validate(num_points)
    itself = torch.arange(num_points, device=neighborhoods.offsets.device)
    reached = Neighborhoods.from_counts(itself, torch.ones_like(itself))
    for _ in range(hops):
        step = neighborhoods.select_queries(reached.indices)
        queries = torch.cat([reached.query_indices(), reached.query_indices().repeat_interleave(step.counts())])
        pairs = torch.unique(queries * num_points + torch.cat([reached.indices, step.indices]))
        counts = torch.bincount(pairs // max(1, num_points), minlength=num_points)
        reached = Neighborhoods.from_counts(pairs % max(1, num_points), counts)
    return reached


def periodic_images(positions: Tensor, box: Sequence[float], reach: float) -> tuple[Tensor, Tensor]:
    """Copies of the sources in and around a periodic box, so that any search and layer sees across its faces.

    Images are y + n · box for whole n, those at most ``reach`` outside of [0, box]. Search them with queries from
    :func:`wrap_into_box` and take their features as ``features[indices]``: with a radius of at most half the box
    that is the minimum image, with a larger one every image counts, and gradients go to the sources.

    Args:
        positions: [N, D] floating point, anywhere.
        box: D side lengths in the unit of the positions; ``math.inf`` for an axis that is not periodic.
        reach: largest distance at which queries see sources.

    Returns:
        indices [N'] int64 of the copied sources, and the images' positions [N', D].

    Raises:
        TypeError: positions are not floating point.
        ValueError: shapes do not fit, a coordinate is not finite, a side is not positive, or reach is negative.

    Example:
        >>> from gridless.neighbors import within_radius
        >>> ring = torch.tensor([[0.5], [9.5]])
        >>> indices, images = periodic_images(ring, [10.0], reach=2.0)
        >>> rows = within_radius(images, ring, 2.0)
        >>> indices[rows.indices].tolist(), rows.counts().tolist()
        ([0, 1, 1, 0], [2, 2])
    """
    if not (math.isfinite(reach) and reach >= 0):
        raise ValueError(f"periodic_images: reach must be finite and not negative, got {reach}")
    images = wrap_into_box(positions, box)
    indices = torch.arange(len(positions), device=positions.device)
    for axis, side in enumerate(box):
        if math.isinf(side):
            continue
        farthest = math.ceil(reach / side)
        shifts = side * torch.arange(-farthest, farthest + 1, dtype=positions.dtype, device=positions.device)
        coordinates = images.detach()[:, axis] + shifts[:, None]
        shift, kept = ((coordinates >= -reach) & (coordinates <= side + reach)).nonzero(as_tuple=True)
        offsets = torch.zeros_like(images[kept])
        offsets[:, axis] = shifts[shift]
        indices, images = indices[kept], images[kept] + offsets
    return indices, images


def wrap_into_box(positions: Tensor, box: Sequence[float]) -> Tensor:
    """Positions moved by whole sides into [0, box): x − ⌊x / box⌋ · box along each periodic axis.

    Args:
        positions: [N, D] floating point.
        box: D side lengths; ``math.inf`` for an axis that is not periodic.

    Raises:
        TypeError: positions are not floating point.
        ValueError: shapes do not fit, a coordinate is not finite, or a side is not positive.

    Example:
        >>> wrap_into_box(torch.tensor([[-1.0, 7.0]]), [4.0, 4.0]).tolist()
        [[3.0, 3.0]]
    """
    check_positions("wrap_into_box", "positions", positions)
    if len(box) != positions.shape[1] or not all(side > 0 for side in box):
        raise ValueError(
            f"wrap_into_box: box must be {positions.shape[1]} positive lengths, one for each axis, got {list(box)}"
        )
    sides = positions.new_tensor(list(box))
    open_axes = sides.isinf()
    sides = sides.masked_fill(open_axes, 1.0)
    wrapped = positions.remainder(sides)
    # A coordinate just below 0 rounds to the side, which is 0: images are taken of either, not of both.
    wrapped = torch.where(wrapped == sides, wrapped - sides, wrapped)
    return torch.where(open_axes, positions, wrapped)


def _runs(values: Tensor, begins: Tensor, stops: Tensor) -> Neighborhoods:
    """Rows ``values[begins[i]:stops[i]]``."""
    counts = (stops - begins).clamp_min(0)
    first = torch.repeat_interleave(begins - (counts.cumsum(0) - counts), counts)
    return Neighborhoods.from_counts(values[first + torch.arange(len(first), device=first.device)], counts)

"""Sources prepared once for several searches: argument checks, clouds of a batch, choice of implementation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gridless.arguments import check_batch, check_count, check_positions
from gridless.native import choose
from gridless.neighbors import kdtree, reference
from gridless.neighbors.grid import LARGEST_DIM, SearchGrid
from gridless.neighbors.native import SearchTrees
from gridless.neighbors.neighborhoods import Neighborhoods


class PointIndex:
    """The sources of searches; what a search can prepare from them alone is prepared once.

    Args:
        positions: [N, D] floating point, any D >= 1.
        batch: [N] int64 cloud of each source, in any order; pairs never cross clouds.
        impl: "auto", "native", "kdtree", "grid" or "reference", as in :func:`gridless.neighbors.knn`.
        function: what error messages call the caller.

    Raises:
        TypeError, ValueError, UnsupportedError: as :func:`gridless.neighbors.knn`.

    Example:
        >>> import torch
        >>> index = PointIndex(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> index.knn(torch.tensor([[2.5]]), 2).indices.tolist()
        [2, 1]
        >>> index.within_radius(torch.tensor([[0.0]]), 1.0).indices.tolist()
        [0, 1]
    """

    def __init__(
        self, positions: Tensor, batch: Tensor | None = None, impl: str = "auto", function: str = "PointIndex"
    ) -> None:
        check_positions(function, "source_positions", positions)
        check_batch(function, "source_batch", batch, len(positions))
        if impl == "auto" and positions.is_cuda:
            impl = "grid" if positions.shape[1] <= LARGEST_DIM else "reference"
        self._impl = choose(function, impl, "kdtree", "grid", "reference")
        self._function, self._given, self._batch = function, positions, batch
        self._positions = positions.detach()
        self._prepared: SearchTrees | SearchGrid | None = None
        if self._impl == "native":
            self._prepared = SearchTrees(self._positions.cpu(), None if batch is None else batch.cpu())
        elif self._impl == "grid":
            self._prepared = SearchGrid(function, self._positions, batch)

    def __reduce__(self) -> tuple[type[PointIndex], tuple[Tensor, Tensor | None, str, str]]:
        # Compiled trees cannot leave their process: a copy, or what another process gets, prepares its own.
        return type(self), (self._positions, self._batch, self._impl, self._function)

    def knn(self, query_positions: Tensor, k: int, query_batch: Tensor | None = None) -> Neighborhoods:
        """As :func:`gridless.neighbors.knn`."""
        return self._search(query_positions, check_count(self._function, "k", k), None, query_batch)

    def within_radius(
        self,
        query_positions: Tensor,
        radius: float,
        max_neighbors: int | None = None,
        query_batch: Tensor | None = None,
    ) -> Neighborhoods:
        """As :func:`gridless.neighbors.within_radius`."""
        if not (radius > 0 and math.isfinite(radius)):
            raise ValueError(f"{self._function}: radius must be positive and finite, got {radius}")
        if max_neighbors is not None:
            max_neighbors = check_count(self._function, "max_neighbors", max_neighbors)
        return self._search(query_positions, max_neighbors, float(radius), query_batch)

    def _search(self, query: Tensor, k: int | None, radius: float | None, query_batch: Tensor | None) -> Neighborhoods:
        if query is not self._given:
            check_positions(self._function, "query_positions", query)
        if self._positions.shape[1] != query.shape[1]:
            raise ValueError(
                f"{self._function}: source_positions and query_positions must have the same D, "
                f"got shapes {tuple(self._positions.shape)} and {tuple(query.shape)}"
            )
        if (self._batch is None) != (query_batch is None):
            raise ValueError(f"{self._function}: give both source_batch and query_batch, or neither")
        check_batch(self._function, "query_batch", query_batch, len(query))
        device = query.device
        if self._prepared is not None:
            place = self._positions.device if self._impl == "grid" else torch.device("cpu")
            batch = None if query_batch is None else query_batch.to(place)
            return self._prepared.search(query.detach().to(place), k, radius, batch).to(device)
        place = device if self._impl == "reference" else torch.device("cpu")
        exact_source = self._positions.to(place, torch.float64)
        exact_query = query.detach().to(place, torch.float64)
        if self._batch is None or query_batch is None:
            indices, counts = _search_cloud(exact_source, exact_query, k, radius, self._impl)
        else:
            indices, counts = _search_batch(
                exact_source, exact_query, k, radius, self._batch.to(place), query_batch.to(place), self._impl
            )
        return Neighborhoods.from_counts(indices, counts).to(device)


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

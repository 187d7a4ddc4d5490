"""Neighborhoods: which sources lie in the support of which query, as compressed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from gridless.arguments import check_indices, check_simplices


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """E pairs (query, source) in compressed rows: row i is ``indices[offsets[i]:offsets[i + 1]]``.

    Args:
        indices: [E] int64, source of each pair.
        offsets: [M + 1] int64, where each query's row begins; ``offsets[0] == 0`` and ``offsets[M] == E``.

    Raises:
        TypeError: a tensor is not int64.
        ValueError: a tensor is not one-dimensional, or offsets is empty.
    """

    indices: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        for name, tensor in (("indices", self.indices), ("offsets", self.offsets)):
            if tensor.dtype != torch.int64:
                raise TypeError(f"Neighborhoods: {name} must be int64, got {tensor.dtype}")
            if tensor.ndim != 1:
                raise ValueError(f"Neighborhoods: {name} must be one-dimensional, got shape {tuple(tensor.shape)}")
        if self.offsets.numel() == 0:
            raise ValueError("Neighborhoods: offsets must have M + 1 >= 1 entries, got none")

    @property
    def num_queries(self) -> int:
        """M."""
        return self.offsets.numel() - 1

    @property
    def num_pairs(self) -> int:
        """E."""
        return self.indices.numel()

    def counts(self) -> Tensor:
        """Length of each row [M]."""
        return self.offsets.diff()

    def query_indices(self) -> Tensor:
        """Query of each pair [E]."""
        rows = torch.arange(self.num_queries, device=self.offsets.device)
        return torch.repeat_interleave(rows, self.counts(), output_size=self.num_pairs)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Neighborhoods:
        """The same rows on another device."""
        return Neighborhoods(
            self.indices.to(device, non_blocking=non_blocking), self.offsets.to(device, non_blocking=non_blocking)
        )

    @staticmethod
    def from_counts(indices: Tensor, counts: Tensor) -> Neighborhoods:
        """Rows of these lengths [M] over consecutive ``indices`` [E]."""
        return Neighborhoods(indices, torch.cat([counts.new_zeros(1), counts.cumsum(0)]))

    def select_queries(self, queries: Tensor) -> Neighborhoods:
        """The rows of these queries [M'], in that order; as in torch, -1 is the last one, and a mask [M] may be given.

        Raises:
            IndexError: there is no such query.
            ValueError: queries are not one-dimensional.
        """
        # Offsets have one entry more than there are rows: a negative number or a mask would mean something else there.
        rows = torch.arange(self.num_queries, device=self.offsets.device)[queries]
        if rows.ndim != 1:
            raise ValueError(
                f"Neighborhoods.select_queries: queries must be one-dimensional, got shape {tuple(rows.shape)}"
            )
        counts = self.counts()[rows]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], counts)
        return Neighborhoods(self.indices[shift + torch.arange(len(shift), device=shift.device)], offsets)

    def select_pairs(self, kept: Tensor) -> Neighborhoods:
        """The pairs where ``kept`` [E] bool is True, in the same rows."""
        if kept.shape != self.indices.shape or kept.dtype != torch.bool:
            raise ValueError(
                f"Neighborhoods.select_pairs: kept must be bool [E = {self.num_pairs}], "
                f"got {kept.dtype} {tuple(kept.shape)}"
            )
        kept_before = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        return Neighborhoods(self.indices[kept], kept_before[self.offsets])

    def dilated(self, step: int, count: int) -> Neighborhoods:
        """Every ``step``-th pair of each row, at most ``count`` of them.

        Of rows sorted by distance, as many neighbors as before from a support ``step`` times as large.

        Raises:
            ValueError: a number below 1.

        Example:
            >>> Neighborhoods.from_lists([[5, 6, 7, 8, 9], [1]]).dilated(2, 2).indices.tolist()
            [5, 7, 1]
        """
        if step < 1 or count < 1:
            raise ValueError(f"Neighborhoods.dilated: step and count must be at least 1, got {step} and {count}")
        place = torch.arange(self.num_pairs, device=self.offsets.device) - torch.repeat_interleave(
            self.offsets[:-1], self.counts(), output_size=self.num_pairs
        )
        return self.select_pairs((place % step == 0) & (place < step * count))

    @staticmethod
    def from_lists(lists: Sequence[Sequence[int]]) -> Neighborhoods:
        """Rows from one list of source indices a query, of any lengths."""
        counts = torch.tensor([len(row) for row in lists], dtype=torch.int64)
        return Neighborhoods.from_counts(
            torch.tensor([source for row in lists for source in row], dtype=torch.int64), counts
        )

    @staticmethod
    def from_edge_index(edge_index: Tensor, num_queries: int) -> Neighborhoods:
        """Rows from [2, E] pairs (source; query), in any order; pairs of a query keep theirs."""
        if edge_index.ndim != 2 or edge_index.shape[0] != 2:
            raise ValueError(
                f"Neighborhoods.from_edge_index: edge_index must be [2, E], got shape {tuple(edge_index.shape)}"
            )
        source, query = edge_index
        check_indices("Neighborhoods.from_edge_index", "queries", query, num_queries)
        sorted_query, order = query.sort(stable=True)
        return Neighborhoods.from_counts(source[order], torch.bincount(sorted_query, minlength=num_queries))

    @staticmethod
    def from_dense(indices: Tensor, missing: int = -1) -> Neighborhoods:
        """Rows from a table [M, K] int64 in which ``missing`` fills the shorter rows."""
        if indices.ndim != 2:
            raise ValueError(f"Neighborhoods.from_dense: indices must be [M, K], got shape {tuple(indices.shape)}")
        present = indices != missing
        return Neighborhoods.from_counts(indices[present], present.sum(dim=1))

    @staticmethod
    def from_triangles(triangles: Tensor, num_points: int, include_self: bool = True) -> Neighborhoods:
        """One-ring of each mesh vertex from triangles [T, 3] int64; rows sorted by index, without repetitions."""
        check_simplices("Neighborhoods.from_triangles", "triangles", triangles, 3, num_points)
        edges = torch.cat([triangles[:, [a, b]] for a in range(3) for b in range(3) if a != b])
        edges = edges[edges[:, 0] != edges[:, 1]]
        if include_self:
            edges = torch.cat([edges, torch.arange(num_points, device=edges.device)[:, None].expand(-1, 2)])
        edges = torch.unique(edges, dim=0)
        return Neighborhoods.from_edge_index(edges.T.flip(0), num_points)

    @staticmethod
    def concatenate(neighborhoods: Sequence[Neighborhoods], num_sources: Sequence[int]) -> Neighborhoods:
        """Rows of several clouds one after the other; indices shifted by the sources of the clouds before."""
        if not neighborhoods or len(neighborhoods) != len(num_sources):
            raise ValueError(
                "Neighborhoods.concatenate: give at least one Neighborhoods and one number of sources for each, "
                f"got {len(neighborhoods)} and {len(num_sources)}"
            )
        begins = [0, *accumulate(num_sources)]
        return Neighborhoods.from_counts(
            torch.cat([rows.indices + begin for rows, begin in zip(neighborhoods, begins, strict=False)]),
            torch.cat([rows.counts() for rows in neighborhoods]),
        )

    def to_edge_index(self) -> Tensor:
        """[2, E] pairs (source; query), sorted by query."""
        return torch.stack([self.indices, self.query_indices()])

    def transpose(self, num_sources: int) -> tuple[Neighborhoods, Tensor]:
        """For each source its queries in increasing order, and which pair of this object each new pair is [E].

        Raises:
            ValueError: an index is not one of the sources.
        """
        check_indices("Neighborhoods.transpose", "indices", self.indices, num_sources)
        order = self.indices.sort(stable=True)[1]
        counts = torch.bincount(self.indices, minlength=num_sources)
        return Neighborhoods.from_counts(self.query_indices()[order], counts), order

    def validate(self, num_sources: int) -> None:
        """Raise ValueError, naming the first bad row or pair, unless these are rows over ``num_sources`` sources."""
        if int(self.offsets[0]) != 0:
            raise ValueError(f"Neighborhoods: offsets must start at 0, got {int(self.offsets[0])}")
        decreasing = (self.counts() < 0).nonzero()
        if len(decreasing):
            raise ValueError(f"Neighborhoods: offsets must not decrease (first: after row {int(decreasing[0])})")
        if int(self.offsets[-1]) != self.num_pairs:
            raise ValueError(f"Neighborhoods: offsets must end at {self.num_pairs} pairs, got {int(self.offsets[-1])}")
        outside = ((self.indices < 0) | (self.indices >= num_sources)).nonzero()
        if len(outside):
            pair = int(outside[0])
            raise ValueError(
                f"Neighborhoods: indices must be in [0, {num_sources}); "
                f"{len(outside)} are not (first: pair {pair}, index {int(self.indices[pair])})"
            )


def check_neighborhoods(function: str, neighborhoods: object) -> None:
    """Raise TypeError, naming function and ways to make them, unless these are Neighborhoods."""
    if not isinstance(neighborhoods, Neighborhoods):
        raise TypeError(
            f"{function}: neighborhoods must be Neighborhoods, got {type(neighborhoods).__name__}; "
            "searches return them, Neighborhoods.from_edge_index and from_dense make them from tensors"
        )

"""k-d tree search with scipy: the same rows as the reference, in O((N + M) log N)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

# The tree rounds distances in another order than the definition; candidates this close to a limit are compared again.
_RELATIVE_SLACK = 1e-12
_ABSOLUTE_SLACK = 1e-150
_LEAF_POINTS = 10
_PAIRS_PER_BLOCK = 1 << 22
_QUERIES_PER_RADIUS_BLOCK = 1 << 14

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


def knn_rows(source: NDArray[np.float64], query: NDArray[np.float64], k: int, radius: float | None = None) -> Rows:
    """The k nearest sources of each query of one cloud as (indices [E], counts [M]), none farther than ``radius``."""
    k = min(k, len(source))
    if k == 0 or len(query) == 0:
        return np.empty(0, np.int64), np.zeros(len(query), np.int64)
    search = _TieAwareSearch(source, k, radius)
    block = max(1, _PAIRS_PER_BLOCK // (k + 1))
    parts = [search.rows(query[start : start + block]) for start in range(0, len(query), block)]
    return np.concatenate([indices for indices, _ in parts]), np.concatenate([counts for _, counts in parts])


def radius_rows(source: NDArray[np.float64], query: NDArray[np.float64], radius: float) -> Rows:
    """All sources within ``radius`` of each query of one cloud as (indices [E], counts [M])."""
    if len(source) == 0 or len(query) == 0:
        return np.empty(0, np.int64), np.zeros(len(query), np.int64)
    tree = _tree(source)
    parts = []
    for start in range(0, len(query), _QUERIES_PER_RADIUS_BLOCK):
        block = query[start : start + _QUERIES_PER_RADIUS_BLOCK]
        limit = radius * (1 + _RELATIVE_SLACK) + _ABSOLUTE_SLACK
        pairs = _tree(block).sparse_distance_matrix(tree, limit, output_type="ndarray")
        rows, found = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
        squared = _squared_distances(block, source, rows, found)
        inside = squared <= radius * radius
        rows, found, squared = rows[inside], found[inside], squared[inside]
        parts.append((found[np.lexsort((found, squared, rows))], np.bincount(rows, minlength=len(block))))
    return np.concatenate([indices for indices, _ in parts]), np.concatenate([counts for _, counts in parts])


class _TieAwareSearch:
    """k nearest sources by (squared distance, index), although the tree breaks ties in no promised order."""

    def __init__(self, source: NDArray[np.float64], k: int, radius: float | None) -> None:
        self.source, self.k, self.radius = source, k, radius
        self.limit = np.inf if radius is None else radius * (1 + _RELATIVE_SLACK) + _ABSOLUTE_SLACK
        # scipy's tree keeps all copies of a position in one leaf, which every query near it would have to go through.
        self._few_copies: _SomeSources | None = None
        many = max(k, _LEAF_POINTS) * 4
        self.sources = self._with_few_copies() if _occurs_often(source[:, 0], many) else _SomeSources.all(source)

    def rows(self, query: NDArray[np.float64]) -> Rows:
        # One candidate more than asked for shows whether the k-th place is a tie.
        candidates, distances = self._candidates(self.sources, query, self.k + 1)
        tied = self._tied(distances)
        chosen, inside = self._choose(query, candidates, distances)
        if tied.any():
            unsettled = np.flatnonzero(tied)
            sources = self._with_few_copies()
            width = self.k + 1
            while len(unsettled):
                width = min(2 * width, len(sources.indices))
                block = max(1, _PAIRS_PER_BLOCK // width)
                remaining = []
                for start in range(0, len(unsettled), block):
                    which = unsettled[start : start + block]
                    found, distances = self._candidates(sources, query[which], width)
                    still_tied = self._tied(distances) & np.isfinite(distances[:, -1])
                    chosen[which], inside[which] = self._choose(query[which], found, distances)
                    remaining.append(which[still_tied])
                unsettled = np.concatenate(remaining)
        return chosen[inside], inside.sum(axis=1)

    def _candidates(
        self, sources: _SomeSources, query: NDArray[np.float64], width: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        distances, found = sources.tree.query(
            query, k=np.arange(1, width + 1), distance_upper_bound=self.limit, workers=torch.get_num_threads()
        )
        return sources.indices[found], np.asarray(distances, np.float64)

    def _tied(self, distances: NDArray[np.float64]) -> NDArray[np.bool_]:
        last_kept, last_seen = distances[:, self.k - 1], distances[:, -1]
        return np.isfinite(last_seen) & (last_seen <= last_kept * (1 + _RELATIVE_SLACK) + _ABSOLUTE_SLACK)

    def _choose(
        self, query: NDArray[np.float64], candidates: NDArray[np.int64], distances: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The first k candidates by (squared distance, index) [M, k] and which of them are within the limits."""
        missing = ~np.isfinite(distances)
        safe = np.where(missing, 0, candidates)
        rows = np.repeat(np.arange(len(query)), candidates.shape[1])
        squared = _squared_distances(query, self.source, rows, safe.ravel()).reshape(safe.shape)
        squared[missing] = np.inf
        # Most rows already are in order; only the others pay for a sort.
        ahead, behind = squared[:, :-1], squared[:, 1:]
        swapped = (ahead > behind) | ((ahead == behind) & (candidates[:, :-1] > candidates[:, 1:]))
        unsorted = np.flatnonzero(swapped.any(axis=1))
        if len(unsorted):
            order = np.lexsort((candidates[unsorted], squared[unsorted]), axis=1)
            candidates, squared = candidates.copy(), squared.copy()
            candidates[unsorted] = np.take_along_axis(candidates[unsorted], order, axis=1)
            squared[unsorted] = np.take_along_axis(squared[unsorted], order, axis=1)
        limit = np.inf if self.radius is None else self.radius * self.radius
        kept = squared[:, : self.k]
        return candidates[:, : self.k].copy(), (kept <= limit) & np.isfinite(kept)

    def _with_few_copies(self) -> _SomeSources:
        """No position more than k times: later copies can never enter a row."""
        if self._few_copies is None:
            order = np.lexsort(self.source.T)  # stable: copies stay in the order of their indices
            differs = np.append(True, (np.diff(self.source[order], axis=0) != 0).any(axis=1))
            first = np.flatnonzero(differs)
            copy_number = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
            self._few_copies = _SomeSources.of(self.source, np.sort(order[copy_number < self.k]))
        return self._few_copies


@dataclass(frozen=True)
class _SomeSources:
    """A tree of some sources, their indices in its order, and after them the number of all: the tree's "none"."""

    tree: cKDTree
    indices: NDArray[np.int64]

    @classmethod
    def of(cls, source: NDArray[np.float64], chosen: NDArray[np.int64]) -> _SomeSources:
        return cls(_tree(source[chosen]), np.append(chosen, len(source)))

    @classmethod
    def all(cls, source: NDArray[np.float64]) -> _SomeSources:
        return cls(_tree(source), np.arange(len(source) + 1))


def _occurs_often(values: NDArray[np.float64], often: int) -> bool:
    """Whether some value occurs more than ``often`` times; there is no position that does where there is none."""
    ordered = np.sort(values)
    return bool((ordered[often:] == ordered[:-often]).any())


def _tree(positions: NDArray[np.float64]) -> cKDTree:
    from scipy.spatial import cKDTree  # here, so that importing the package does not load scipy

    return cKDTree(positions, leafsize=_LEAF_POINTS, balanced_tree=False, compact_nodes=True)


def _squared_distances(
    query: NDArray[np.float64], source: NDArray[np.float64], rows: NDArray[np.int64], found: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum over the axes, first to last, as the reference adds them: equal bits, hence equal ties."""
    squared = np.zeros(len(rows))
    with np.errstate(over="ignore"):  # what is infinitely far is nobody's neighbor
        for axis in range(query.shape[1]):
            difference = query[rows, axis] - source[found, axis]
            squared += difference * difference
    return squared

"""k-d trees in compiled code: the same rows as the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from gridless import native
from gridless.native import handed
from gridless.neighbors.neighborhoods import Neighborhoods


class SearchTrees:
    """One tree for each cloud of the sources [N, D], on the CPU; searched as often as wanted."""

    def __init__(self, source: Tensor, batch: Tensor | None) -> None:
        begins, order, self._labels = torch.tensor([0, len(source)]), None, None
        if batch is not None:
            sorted_batch, order = batch.sort(stable=True)
            self._labels, counts = torch.unique_consecutive(sorted_batch, return_counts=True)
            begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self._largest_cloud = int(begins.diff().max()) if len(begins) > 1 else 0
        self._tree = native.extension().SearchTree(
            handed(native.readable_positions(source)), handed(order), handed(begins), torch.get_num_threads(),
            native.instruction_set(),
        )  # fmt: skip

    def search(self, query: Tensor, k: int | None, radius: float | None, batch: Tensor | None) -> Neighborhoods:
        """Sources of each query by (‖x − y‖², index), at most k and none with ‖x − y‖² > radius²."""
        query, clouds = native.readable_positions(query), self._clouds_of(batch)
        if k is None or radius is not None:
            assert radius is not None
            return self._within_radius(query, clouds, radius, k or 0)
        return self._nearest(query, clouds, min(k, self._largest_cloud))

    def _nearest(self, query: Tensor, clouds: Tensor | None, k: int) -> Neighborhoods:
        counts = torch.zeros(len(query), dtype=torch.int64)
        if k == 0:
            return Neighborhoods.from_counts(counts[:0], counts)
        indices = torch.empty(len(query) * k, dtype=torch.int64)
        self._tree.knn(handed(query), handed(clouds), k, handed(indices), handed(counts), torch.get_num_threads())
        if int(counts.sum()) == len(indices):
            return Neighborhoods(indices, torch.arange(0, len(indices) + 1, k))
        # Smaller clouds, or points so far away that their squared distances overflow.
        return Neighborhoods.from_counts(indices.view(-1, k)[torch.arange(k) < counts[:, None]], counts)

    def _within_radius(self, query: Tensor, clouds: Tensor | None, radius: float, most: int) -> Neighborhoods:
        found = self._tree.within_radius(handed(query), handed(clouds), radius, most, torch.get_num_threads())
        counts = torch.empty(len(query), dtype=torch.int64)
        found.write_counts(handed(counts))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        indices = torch.empty(int(offsets[-1]), dtype=torch.int64)
        found.write(handed(offsets), handed(indices), torch.get_num_threads())
        return Neighborhoods(indices, offsets)

    def _clouds_of(self, batch: Tensor | None) -> Tensor | None:
        if batch is None or self._labels is None:
            return None
        if len(self._labels) == 0:
            return torch.full_like(batch, -1)
        places = torch.searchsorted(self._labels, batch.contiguous()).clamp(max=len(self._labels) - 1)
        return torch.where(self._labels[places] == batch, places, -1)

"""Neighborhoods: which sources lie in the support of which query, as compressed rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
        """The rows of these queries [M'] int64, in that order."""
        counts = self.counts()[queries]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[queries] - offsets[:-1], counts)
        return Neighborhoods(self.indices[shift + torch.arange(len(shift), device=shift.device)], offsets)

"""Pooling onto fewer points, and over whole clouds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gridless.arguments import check_batch, check_indices, check_tensor
from gridless.neighbors import Neighborhoods
from gridless.neighbors.neighborhoods import check_neighborhoods
from gridless.ops.pooling import pool


class Pool(nn.Module):
    """Pooling over the support domain onto fewer points: out_i = max (or mean) of f_j over j in N(i).

    Args:
        reduce: "max" or "mean".

    Example:
        >>> supports = Neighborhoods(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 3]))
        >>> Pool("mean")(torch.tensor([[1.0], [3.0], [7.0]]), supports).tolist()
        [[2.0], [7.0]]
    """

    def __init__(self, reduce: str = "max") -> None:
        super().__init__()
        if reduce not in ("max", "mean"):
            raise ValueError(f"Pool: reduce must be 'max' or 'mean', got {reduce!r}")
        self.reduce = reduce

    def forward(self, features: Tensor, neighborhoods: Neighborhoods) -> Tensor:
        """features [N, C] at the sources → [M, C] at the queries; zeros for empty supports."""
        check_neighborhoods("Pool", neighborhoods)
        return pool(features, neighborhoods.indices, neighborhoods.offsets, self.reduce)

    def extra_repr(self) -> str:
        return f"reduce={self.reduce}"


class GlobalPool(Pool):
    """Pooling over all points of each cloud.

    Example:
        >>> GlobalPool("max")(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1]), num_clouds=2).tolist()
        [[3.0], [7.0]]
    """

    def forward(self, features: Tensor, batch: Tensor, num_clouds: int) -> Tensor:  # type: ignore[override]
        """features [N, C] of points in clouds ``batch`` [N] → [B, C]; zeros for a cloud without points.

        Raises:
            TypeError: batch is not int64.
            ValueError: batch is not [N], or (on the CPU, where nothing waits) names a cloud that is not there.
        """
        check_tensor("GlobalPool", "features", features)
        check_batch("GlobalPool", "batch", batch, features.shape[0])
        if batch.device.type == "cpu" and not torch.compiler.is_compiling():
            check_indices("GlobalPool", "batch", batch, num_clouds)
        indices = torch.argsort(batch, stable=True)
        offsets = torch.searchsorted(batch[indices], torch.arange(num_clouds + 1, device=batch.device))
        return pool(features, indices, offsets, self.reduce)

"""Batch normalization that survives a batch of one point."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` that normalizes fewer than two rows with the running statistics.

    One value a channel has no variance to normalize with (torch raises), and none at all would turn the running
    statistics to NaN; both occur in training where a small cloud is left with a single point at a coarse level.

    Example:
        >>> import torch
        >>> BatchNorm(2)(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C] → [N, C]."""
        if self.training and input.shape[0] < 2:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)

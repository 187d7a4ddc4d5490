"""The kinds of normalization; that over a batch survives one point and can be shared by several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional


def normalization_layer(kind: str, channels: int) -> nn.Module:
    """ "batch": :class:`BatchNorm`; "layer": ``torch.nn.LayerNorm`` over each point's channels.

    Raises:
        ValueError: another kind.

    Example:
        >>> normalization_layer("layer", 8).normalized_shape
        (8,)
    """
    if kind not in ("batch", "layer"):
        raise ValueError(f'normalization must be "batch" or "layer", got {kind!r}')
    return BatchNorm(channels) if kind == "batch" else nn.LayerNorm(channels)


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` that normalizes fewer than two rows with the running statistics.

    One value a channel has no variance to normalize with (torch raises), and none at all would turn the running
    statistics to NaN; both occur in training where a small cloud is left with a single point at a coarse level.

    Attributes:
        synchronized: take mean and variance over the rows of all processes of a distributed training, which may
            have different numbers of them; see :func:`synchronize_normalization`.

    Example:
        >>> import torch
        >>> BatchNorm(2)(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    synchronized = False

    def forward(self, input: Tensor) -> Tensor:
        """[N, C] → [N, C]."""
        if self.training and self.synchronized:
            return self._over_processes(input)
        if self.training and input.shape[0] < 2:
            return self._with_running_statistics(input)
        return super().forward(input)

    def _with_running_statistics(self, input: Tensor) -> Tensor:
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )

    def _over_processes(self, input: Tensor) -> Tensor:
        rows = input.to(torch.promote_types(input.dtype, torch.float32))
        # One message for the number of rows and their sums; a second one, as squares of what is far from 0 cancel.
        sums = _SumOverProcesses.apply(torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))]))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1)
        centered = rows - mean
        variance = _SumOverProcesses.apply(centered.square().sum(dim=0)) / count.clamp(min=1)
        if count < 2:
            return self._with_running_statistics(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            part = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, part)
            self.running_var.lerp_(variance * (count / (count - 1)), part)
        normalized = centered * (variance + self.eps).rsqrt()
        return (normalized * self.weight + self.bias).to(input.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Every process gets the sum; the gradient of a process's part is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _SumOverProcesses.apply(gradients[0])
        return total


def synchronize_normalization(network: nn.Module) -> None:
    """Let every :class:`BatchNorm` of a network take its statistics over all processes of ``torch.distributed``.

    Two processes with half a batch each then compute what one computes with all of it. It works on CPU and GPU
    (``torch.nn.SyncBatchNorm`` on GPUs only). Call it once the process group is there.

    Raises:
        RuntimeError: there is no process group.

    Example:
        >>> synchronize_normalization(BatchNorm(8))
        Traceback (most recent call last):
        RuntimeError: synchronize_normalization: torch.distributed has no process group yet
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("synchronize_normalization: torch.distributed has no process group yet")
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.synchronized = True

"""Checks that both samplers make of positions and batches."""

from __future__ import annotations

import torch
from torch import Tensor


def check_positions(function: str, positions: Tensor) -> None:
    """Raise TypeError or ValueError unless positions are finite, floating point and [N, D]."""
    if not isinstance(positions, Tensor) or not positions.is_floating_point():
        got = positions.dtype if isinstance(positions, Tensor) else type(positions).__name__
        raise TypeError(f"{function}: positions must be a floating point tensor, got {got}")
    if positions.ndim != 2 or positions.shape[1] < 1:
        raise ValueError(f"{function}: positions must be [N, D] with D >= 1, got shape {tuple(positions.shape)}")
    bad = (~torch.isfinite(positions).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"{function}: {len(bad)} of {len(positions)} rows of positions have NaN or infinite coordinates "
            f"(first: row {int(bad[0])}); remove them first"
        )


def check_batch(function: str, batch: Tensor | None, num_points: int) -> None:
    """Raise TypeError or ValueError unless batch is None or [N] int64."""
    if batch is None:
        return
    if batch.dtype != torch.int64:
        raise TypeError(f"{function}: batch must be int64, got {batch.dtype}")
    if batch.shape != (num_points,):
        raise ValueError(f"{function}: batch must have shape ({num_points},), got {tuple(batch.shape)}")

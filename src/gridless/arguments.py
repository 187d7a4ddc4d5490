"""Checks of arguments that several folders share."""

from __future__ import annotations

import torch
from torch import Tensor


def check_tensor(function: str, name: str, value: object) -> None:
    """Raise TypeError, naming function and argument, unless value is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be a torch tensor, got {type(value).__name__}")


def check_positions(function: str, name: str, positions: Tensor) -> None:
    """Raise TypeError or ValueError, naming function and argument, unless positions are finite floats [N, D]."""
    check_tensor(function, name, positions)
    if not positions.is_floating_point():
        raise TypeError(f"{function}: {name} must be floating point, got {positions.dtype}; convert with .float()")
    if positions.ndim != 2 or positions.shape[1] < 1:
        raise ValueError(f"{function}: {name} must be [N, D] with D >= 1, got shape {tuple(positions.shape)}")
    if bool(positions.detach().sum().isfinite()):
        return  # the fast way; a sum may also overflow where every coordinate is finite
    bad = (~torch.isfinite(positions).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"{function}: {len(bad)} of {len(positions)} rows of {name} have NaN or infinite coordinates "
            f"(first: row {int(bad[0])}); remove them first"
        )


def check_batch(function: str, name: str, batch: Tensor | None, num_points: int) -> None:
    """Raise TypeError or ValueError unless batch is None or [num_points] int64."""
    if batch is None:
        return
    if batch.dtype != torch.int64:
        raise TypeError(f"{function}: {name} must be int64, got {batch.dtype}")
    if batch.shape != (num_points,):
        raise ValueError(f"{function}: {name} must have shape ({num_points},), got {tuple(batch.shape)}")


def check_count(function: str, name: str, count: int) -> None:
    """Raise TypeError or ValueError unless count is an int of at least 1."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{function}: {name} must be an int, got {type(count).__name__}")
    if count < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {count}")

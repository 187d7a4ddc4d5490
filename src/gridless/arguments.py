"""Checks of arguments that several folders share."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
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
    if math.isfinite(float(positions.detach().sum())):
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
    check_tensor(function, name, batch)
    if batch.dtype != torch.int64:
        raise TypeError(f"{function}: {name} must be int64, got {batch.dtype}")
    if batch.shape != (num_points,):
        raise ValueError(f"{function}: {name} must have shape ({num_points},), got {tuple(batch.shape)}")


def check_indices(function: str, name: str, indices: Tensor, num_values: int) -> None:
    """Raise TypeError or ValueError unless indices are int64 in [0, num_values)."""
    check_tensor(function, name, indices)
    if indices.dtype != torch.int64:
        raise TypeError(f"{function}: {name} must be int64, got {indices.dtype}")
    if indices.numel():
        smallest, largest = int(indices.min()), int(indices.max())
        if smallest < 0 or largest >= num_values:
            raise ValueError(f"{function}: {name} must lie in [0, {num_values}), got {smallest} to {largest}")


def check_simplices(function: str, name: str, simplices: Tensor, num_corners: int, num_vertices: int) -> None:
    """Raise TypeError or ValueError unless simplices are [T, num_corners] int64 in [0, num_vertices)."""
    check_tensor(function, name, simplices)
    if simplices.ndim != 2 or simplices.shape[1] != num_corners:
        raise ValueError(f"{function}: {name} must be [T, {num_corners}], got shape {tuple(simplices.shape)}")
    check_indices(function, name, simplices, num_vertices)


def check_count(function: str, name: str, count: SupportsIndex, least: int = 1) -> int:
    """The count, also one of NumPy's, as an int; TypeError or ValueError unless it is one of at least ``least``."""
    try:
        number = None if isinstance(count, bool) else operator.index(count)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{function}: {name} must be an int, got {type(count).__name__}")
    if number < least:
        raise ValueError(f"{function}: {name} must be at least {least}, got {number}")
    return number


def per_axis(function: str, name: str, value: float | Sequence[float] | Tensor, dim: int) -> NDArray[np.float64]:
    """One number for each of ``dim`` axes [D], from one or from D of them; ValueError for anything else."""
    if type(value) is float and math.isfinite(value):  # what nearly every call gives, many times as fast
        return np.full(dim, value)
    try:
        values = np.asarray(value.tolist() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError):
        values = np.array(None)
    if values.dtype.kind not in "iuf" or values.shape not in ((), (dim,)) or not np.isfinite(values).all():
        raise ValueError(f"{function}: {name} must be a finite number or {dim} of them, got {value}")
    return np.ascontiguousarray(np.broadcast_to(values, (dim,)), dtype=np.float64)

"""Subsampling on GPUs: farthest points by a Triton kernel, voxels in torch operations; the same points."""

from __future__ import annotations

import importlib

from torch import Tensor

from gridless.subsample.reference import kept_points

__all__ = ["farthest_points", "kept_points"]


def farthest_points(
    positions: Tensor, order: Tensor | None, counts: list[int], wanted: list[int], start: int
) -> Tensor:
    """As :func:`gridless.subsample.reference.farthest_points`."""
    kernel = importlib.import_module("gridless.subsample.triton_farthest")  # needs Triton
    chosen: Tensor = kernel.farthest_points(positions, order, counts, wanted, start)
    return chosen

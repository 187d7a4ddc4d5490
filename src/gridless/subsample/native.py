"""Subsampling in compiled code: the same points as the reference."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gridless import native
from gridless.native import handed


def kept_points(
    positions: Tensor, edges: NDArray[np.float64], corner: NDArray[np.float64], batch: Tensor | None
) -> Tensor | None:
    """As :func:`gridless.subsample.reference.kept_points`."""
    kept_of = torch.empty(len(positions), dtype=torch.int64)
    clouds = None if batch is None else handed(batch.contiguous())
    near = native.extension().voxel_grid(
        handed(native.readable_positions(positions)), edges, corner, clouds, handed(kept_of), torch.get_num_threads()
    )
    return kept_of if near else None


def farthest_points(
    positions: Tensor, order: Tensor | None, counts: list[int], wanted: list[int], start: int
) -> Tensor:
    """As :func:`gridless.subsample.reference.farthest_points`."""
    begins, chosen_begins = (torch.tensor([0, *accumulate(lengths)]) for lengths in (counts, wanted))
    chosen = torch.empty(sum(wanted), dtype=torch.int64)
    native.extension().farthest(
        handed(native.readable_positions(positions)), handed(order), handed(begins), handed(chosen_begins), start,
        handed(chosen), torch.get_num_threads(),
    )  # fmt: skip
    return chosen

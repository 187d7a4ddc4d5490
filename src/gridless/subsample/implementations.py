"""Which implementation subsamples, and on which device."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gridless import gpu
from gridless.errors import UnsupportedError
from gridless.native import choose
from gridless.subsample import native, reference, triton


class Implementation(Protocol):
    """What a module of this folder that subsamples has."""

    def kept_points(
        self, positions: Tensor, edges: NDArray[np.float64], corner: NDArray[np.float64], batch: Tensor | None
    ) -> Tensor | None:
        """For each point [N] the one that is kept in its voxel; None where a voxel number reaches 2^62."""

    def farthest_points(
        self, positions: Tensor, order: Tensor | None, counts: list[int], wanted: list[int], start: int
    ) -> Tensor:
        """``wanted`` points of each cloud, which are the next ``counts`` of ``order`` (None: of the positions)."""


def implementation_for(function: str, impl: str, device: torch.device) -> tuple[Implementation, torch.device]:
    """The implementation, and the device that its positions have to be on: "auto" stays on a GPU.

    Raises:
        ValueError: there is no such implementation.
        UnsupportedError: the named one cannot run here.
    """
    if impl == "auto" and device.type != "cpu":
        impl = "reference" if gpu.why_not_on(device) else "triton"
    chosen = choose(function, impl, "reference", "triton")
    if chosen == "triton" and (reason := gpu.why_not_on(device)):
        raise UnsupportedError(f"{function}: impl='triton' cannot run here: {reason}; use impl='auto'")
    module = {"native": native, "reference": reference, "triton": triton}[chosen]
    return cast(Implementation, module), torch.device("cpu") if chosen == "native" else device

"""Windows w(|z| / extent): how a kernel fades towards the edge of its support.

Each is a function of u = |z|² / extent², which unlike |z| is smooth at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WindowFunction = Callable[[Tensor, Sequence[Tensor]], Tensor]


def _gaussian(u: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """exp(-u / 2s²); parameters = [log s []], the width as a fraction of the extent."""
    return torch.exp(-0.5 * u * torch.exp(-2.0 * parameters[0]))


def _polynomial(u: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """(1 - u)³ inside the support, 0 outside: twice continuously differentiable, no parameters."""
    return (1.0 - u).clamp_min(0.0).pow(3)


#: "none" is the hard support itself (w = 1 on every pair) and needs no function.
WINDOWS: dict[str, WindowFunction] = {"gaussian": _gaussian, "polynomial": _polynomial}
NO_WINDOW = "none"

#: How many parameters each takes.
PARAMETER_COUNTS = {NO_WINDOW: 0, "gaussian": 1, "polynomial": 0}

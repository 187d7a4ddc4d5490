"""Windows w(|z| / extent): how a kernel fades towards the edge of its support.

Each is a function of u = |z|² / extent², which unlike |z| is smooth at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A function ``(u, parameters) -> w``, and how many parameters it takes."""

    weigh: Callable[[Tensor, Sequence[Tensor]], Tensor]
    num_parameters: int


def _gaussian(u: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """exp(-u / 2s²); parameters = [log s []], the width as a fraction of the extent."""
    return torch.exp(-0.5 * u * torch.exp(-2.0 * parameters[0]))


def _polynomial(u: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """(1 - u)³ inside the support, 0 outside: twice continuously differentiable, no parameters."""
    return (1.0 - u).clamp_min(0.0).pow(3)


#: "none" is the hard support itself (w = 1 on every pair) and needs no function.
WINDOWS = {"gaussian": Window(_gaussian, 1), "polynomial": Window(_polynomial, 0)}
NO_WINDOW = "none"

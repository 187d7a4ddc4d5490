"""The layer and the points that all contenders of a case share."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

import gridless as gl
from benchmarks.suite import Sizes


@dataclass(frozen=True)
class Problem:
    """One layer, its inputs, and the gradient that comes back to its output."""

    sizes: Sizes
    layer: gl.nn.ContinuousConv
    features: Tensor
    positions: Tensor
    neighborhoods: gl.Neighborhoods
    grad_out: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a backward pass is asked the gradients of."""
        return {"features": self.features, **dict(self.layer.named_parameters())}

    def to(self, device: torch.device, dtype: torch.dtype) -> Problem:
        """The same elsewhere, with features and weights of another precision; positions keep theirs."""
        return Problem(
            self.sizes,
            copy.deepcopy(self.layer).to(device, dtype),
            self.features.detach().to(device, dtype).requires_grad_(),
            self.positions.to(device),
            self.neighborhoods.to(device),
            self.grad_out.to(device, dtype),
        )


def make_problem(sizes: Sizes, seed: int = 0) -> Problem:
    """Random points in the unit cube, in no order, with their nearest neighbors."""
    torch.manual_seed(seed)
    positions = torch.rand(sizes.points, 3)
    support_radius = (3 * sizes.neighbors / (4 * math.pi * sizes.points)) ** (1 / 3)
    layer = gl.nn.ContinuousConv(
        sizes.in_channels, sizes.out_channels, hidden=sizes.hidden, bias=False, scale=support_radius
    )
    return Problem(
        sizes,
        layer,
        torch.randn(sizes.points, sizes.in_channels, requires_grad=True),
        positions,
        gl.knn(positions, positions, sizes.neighbors),
        torch.randn(sizes.points, sizes.out_channels),
    )

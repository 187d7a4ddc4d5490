"""The paper's network: eight continuous convolutions at one scale and a global branch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gridless.models.base import Network, require_widths
from gridless.nn import ConvBlock, GlobalPool
from gridless.pyramid import Pyramid, PyramidSettings


class PCCN(Network):
    """Eight continuous-convolution layers with residuals over shared neighborhoods, and a max-pooled global branch.

    A residual connection adds a layer's input wherever it is as wide as its output.

    Args:
        in_channels: features a point.
        num_classes: logits a point.
        dim: D.
        channels: widths of the convolutions.
        global_channels: widths of the fully connected layers of the global branch.
        hidden: hidden widths of the kernels' MLP.
        num_neighbors: K, one neighborhood for all layers.
        factorized: the paper's factorized kernels (about 97k parameters in all) or full ones (about 0.42M).
        scale: length, in the unit of the positions, that the kernels see as 1.

    Source:
        Wang et al., "Deep Parametric Continuous Convolutional Neural Networks", CVPR 2018, figures 2 and 3.
    """

    name = "pccn"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        dim: int = 3,
        channels: Sequence[int] = (32, 32, 32, 32, 32, 32, 32, 128),
        global_channels: Sequence[int] = (256, 128),
        hidden: Sequence[int] = (16, 32),
        num_neighbors: int = 50,
        factorized: bool = True,
        scale: float = 1.0,
    ) -> None:
        super().__init__(
            {
                "in_channels": in_channels,
                "num_classes": num_classes,
                "dim": dim,
                "channels": list(channels),
                "global_channels": list(global_channels),
                "hidden": list(hidden),
                "num_neighbors": num_neighbors,
                "factorized": factorized,
                "scale": scale,
            }
        )
        require_widths("channels", channels)
        widths = (in_channels, *channels)
        self.layers = nn.ModuleList(
            ConvBlock(before, after, dim, hidden, residual=before == after, factorized=factorized, scale=scale)
            for before, after in itertools.pairwise(widths)
        )
        self.global_pool = GlobalPool("max")
        branch: list[nn.Module] = []
        width = channels[-1]
        for after in global_channels:
            branch += [nn.Linear(width, after), nn.ReLU()]
            width = after
        self.global_branch = nn.Sequential(*branch)
        self.classifier = nn.Linear(channels[-1] + width, num_classes)

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return PyramidSettings(num_neighbors=self.config["num_neighbors"])

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        level = pyramid.levels[0]
        for layer in self.layers:
            features = layer(features, level.positions, level.positions, level.neighborhoods)
        whole = self.global_branch(self.global_pool(features, level.batch, pyramid.num_clouds))
        # Not whole[level.batch], whose gradient threads add up in any order: two trainings would not be the same.
        of_each_point = functional.embedding(level.batch, whole)
        return self.classifier(torch.cat([features, of_each_point], dim=1))

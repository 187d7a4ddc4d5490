"""PointNet and a PointNet++-style network on the same pyramids and recipes as the library's networks.

Source: Qi et al., "PointNet", CVPR 2017, without the input transforms, which rotated scenes do not need; Qi et al.,
"PointNet++", NeurIPS 2017, with one scale a level and the library's voxel levels in place of farthest points.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gridless.models import MODELS
from gridless.models.base import Network, require
from gridless.models.encoder import EncoderConfig
from gridless.neighbors import Neighborhoods
from gridless.nn import GlobalPool, PointwiseBlock, Upsample
from gridless.pyramid import Pyramid, PyramidSettings


class PointNet(Network):
    """One network a point, the maximum over the crop, and one network a point again.

    Args:
        in_channels: features a point.
        num_classes: logits a point.
        spacing: unit of the positions that the network sees.
        channels: widths before the maximum.
    """

    name = "pointnet"

    def __init__(
        self, in_channels: int, num_classes: int, spacing: float = 1.0, channels: Sequence[int] = (64, 64, 128, 384)
    ) -> None:
        super().__init__(
            {"in_channels": in_channels, "num_classes": num_classes, "spacing": spacing, "channels": list(channels)}
        )
        widths = [in_channels + 3, *channels]
        self.blocks = nn.ModuleList(PointwiseBlock(before, after) for before, after in itertools.pairwise(widths))
        self.pool = GlobalPool("max")
        self.head = nn.Sequential(
            PointwiseBlock(channels[0] + channels[-1], 256), PointwiseBlock(256, 128), nn.Linear(128, num_classes)
        )

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return PyramidSettings((), 1, 1)

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        points = pyramid.levels[0]
        hidden = torch.cat([points.positions / (10 * self.config["spacing"]), features], dim=1)
        local = None
        for block in self.blocks:
            hidden = block(hidden)
            local = hidden if local is None else local
        assert local is not None
        whole = self.pool(hidden, points.batch, pyramid.num_clouds)
        return self.head(torch.cat([local, whole[points.batch]], dim=1))


class PointNet2(Network):
    """At each level the maximum over the neighbors of an MLP of their features and offsets; then interpolation back.

    Args:
        in_channels: features a point.
        num_classes: logits a point.
        spacing: distance between neighboring points at level 0.
        channels: width of each level, finest first.
        num_neighbors: K.
    """

    name = "pointnet2"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (32, 64, 128, 192),
        num_neighbors: int = 16,
        **_unused: Any,
    ) -> None:
        config = EncoderConfig(
            in_channels, spacing=spacing, channels=channels, blocks=(1,) * len(channels), num_neighbors=num_neighbors
        )
        super().__init__(
            {
                "in_channels": in_channels,
                "num_classes": num_classes,
                "spacing": spacing,
                "channels": list(channels),
                "num_neighbors": num_neighbors,
            }
        )
        self.encoder_config = config
        widths = [in_channels, *channels]
        self.abstractions = nn.ModuleList(
            nn.Sequential(PointwiseBlock(before + 3, after), PointwiseBlock(after, after))
            for before, after in itertools.pairwise(widths)
        )
        self.upsample = Upsample()
        self.decoders = nn.ModuleList(
            nn.Sequential(PointwiseBlock(finer + coarser, finer), PointwiseBlock(finer, finer))
            for finer, coarser in itertools.pairwise(channels)
        )
        self.classifier = nn.Linear(channels[0], num_classes)

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.encoder_config.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        encoded: list[Tensor] = []
        for depth, (level, network) in enumerate(zip(pyramid.levels, self.abstractions, strict=True)):
            finer = pyramid.levels[max(0, depth - 1)]
            neighborhoods = level.neighborhoods if depth == 0 else require(level.pooling, level)
            scale = self.encoder_config.scale(depth)
            features = _abstracted(features, finer.positions / scale, level.positions / scale, neighborhoods, network)
            encoded.append(features)
        features = encoded.pop()
        for depth in reversed(range(len(encoded))):
            finer, coarser = pyramid.levels[depth], pyramid.levels[depth + 1]
            carried = self.upsample(features, coarser.positions, finer.positions, require(coarser.upsampling, coarser))
            features = self.decoders[depth](torch.cat([encoded[depth], carried], dim=1))
        return self.classifier(features)


def _abstracted(
    features: Tensor, sources: Tensor, queries: Tensor, neighborhoods: Neighborhoods, network: nn.Module
) -> Tensor:
    """max over the neighbors j of network([x_i - y_j, f_j]), [M, C]."""
    rows = neighborhoods.query_indices()
    offsets = queries[rows] - sources[neighborhoods.indices]
    pairs = network(torch.cat([offsets, features.index_select(0, neighborhoods.indices)], dim=1))
    out = pairs.new_zeros(len(queries), pairs.shape[1])
    return out.scatter_reduce(0, rows[:, None].expand_as(pairs), pairs, "amax", include_self=True)


def register() -> None:
    """Let recipes and model files name them."""
    MODELS.update({PointNet.name: PointNet, PointNet2.name: PointNet2})

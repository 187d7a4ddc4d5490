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


class _PointNetEncoder(nn.Module):
    """One network a point and the maximum over each cloud.

    Args:
        in_channels: features a point.
        spacing: unit of the positions that the network sees.
        channels: widths before the maximum.
        dim: of the positions.
    """

    def __init__(self, in_channels: int, spacing: float, channels: Sequence[int], dim: int) -> None:
        super().__init__()
        self.unit = 10 * spacing
        widths = [in_channels + dim, *channels]
        self.blocks = nn.ModuleList(PointwiseBlock(before, after) for before, after in itertools.pairwise(widths))
        self.pool = GlobalPool("max")

    def forward(self, features: Tensor, pyramid: Pyramid) -> tuple[Tensor, Tensor]:
        """features [N, C_in] → after the first block [N, channels[0]], and the maximum [B, channels[-1]]."""
        points = pyramid.levels[0]
        local = self.blocks[0](torch.cat([points.positions / self.unit, features], dim=1))
        hidden = local
        for block in itertools.islice(self.blocks, 1, None):
            hidden = block(hidden)
        return local, self.pool(hidden, points.batch, pyramid.num_clouds)


class PointNet(Network):
    """One network a point, the maximum over the crop, and one network a point again; arguments of the encoder."""

    name = "pointnet"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (64, 64, 128, 384),
        dim: int = 3,
    ) -> None:
        encoder: dict[str, Any] = {
            "in_channels": in_channels,
            "spacing": spacing,
            "channels": list(channels),
            "dim": dim,
        }
        super().__init__({"num_classes": num_classes, **encoder})
        self.encoder = _PointNetEncoder(**encoder)
        self.head = nn.Sequential(
            PointwiseBlock(channels[0] + channels[-1], 256), PointwiseBlock(256, 128), nn.Linear(128, num_classes)
        )

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return PyramidSettings((), 1, 1)

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        local, whole = self.encoder(features, pyramid)
        return self.head(torch.cat([local, whole[pyramid.levels[0].batch]], dim=1))


class PointNetClassifier(Network):
    """One network a point, the maximum over the object, and linear layers; arguments of the encoder."""

    task = "classification"
    name = "pointnet_classifier"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (64, 64, 128, 512),
        dim: int = 3,
        dropout: float = 0.3,
    ) -> None:
        encoder: dict[str, Any] = {
            "in_channels": in_channels,
            "spacing": spacing,
            "channels": list(channels),
            "dim": dim,
        }
        super().__init__({"num_classes": num_classes, "dropout": dropout, **encoder})
        self.encoder = _PointNetEncoder(**encoder)
        self.head = _classification_head(channels[-1], num_classes, dropout)

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return PyramidSettings((), 1, 1)

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [B, num_classes]."""
        self.check_inputs(features, pyramid)
        _, whole = self.encoder(features, pyramid)
        return self.head(whole)


class _PointNet2Encoder(nn.Module):
    """At each level the maximum over the neighbors of an MLP of their features and offsets."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels, *config.channels]
        self.abstractions = nn.ModuleList(
            nn.Sequential(PointwiseBlock(before + config.dim, after), PointwiseBlock(after, after))
            for before, after in itertools.pairwise(widths)
        )

    def forward(self, features: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """features [N, C_in] → those of every level, finest first."""
        encoded: list[Tensor] = []
        for depth, (level, network) in enumerate(zip(pyramid.levels, self.abstractions, strict=True)):
            finer = pyramid.levels[max(0, depth - 1)]
            neighborhoods = level.neighborhoods if depth == 0 else require(level.pooling, level)
            scale = self.config.scale(depth)
            features = _abstracted(features, finer.positions / scale, level.positions / scale, neighborhoods, network)
            encoded.append(features)
        return encoded


class PointNet2(Network):
    """Abstraction level by level, then interpolation back to the points.

    Args:
        in_channels: features a point.
        num_classes: logits a point.
        spacing: distance between neighboring points at level 0.
        channels: width of each level, finest first.
        num_neighbors: K.
        dim: of the positions.
    """

    name = "pointnet2"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (32, 64, 128, 192),
        num_neighbors: int = 16,
        dim: int = 3,
    ) -> None:
        encoder = _pointnet2_arguments(in_channels, spacing, channels, num_neighbors, dim)
        super().__init__({"num_classes": num_classes, **encoder})
        self.encoder = _PointNet2Encoder(EncoderConfig(**encoder, blocks=(1,) * len(channels)))
        self.upsample = Upsample()
        self.decoders = nn.ModuleList(
            nn.Sequential(PointwiseBlock(finer + coarser, finer), PointwiseBlock(finer, finer))
            for finer, coarser in itertools.pairwise(channels)
        )
        self.classifier = nn.Linear(channels[0], num_classes)

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.encoder.config.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        *encoded, features = self.encoder(features, pyramid)
        for depth in reversed(range(len(encoded))):
            finer, coarser = pyramid.levels[depth], pyramid.levels[depth + 1]
            carried = self.upsample(features, coarser.positions, finer.positions, require(coarser.upsampling, coarser))
            features = self.decoders[depth](torch.cat([encoded[depth], carried], dim=1))
        return self.classifier(features)


class PointNet2Classifier(Network):
    """Abstraction level by level, the maximum over the object, and linear layers; arguments of :class:`PointNet2`."""

    task = "classification"
    name = "pointnet2_classifier"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_neighbors: int = 16,
        dim: int = 3,
        dropout: float = 0.3,
    ) -> None:
        encoder = _pointnet2_arguments(in_channels, spacing, channels, num_neighbors, dim)
        super().__init__({"num_classes": num_classes, "dropout": dropout, **encoder})
        self.encoder = _PointNet2Encoder(EncoderConfig(**encoder, blocks=(1,) * len(channels)))
        self.pool = GlobalPool("max")
        self.head = _classification_head(channels[-1], num_classes, dropout)

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.encoder.config.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [B, num_classes]."""
        self.check_inputs(features, pyramid)
        coarsest = self.encoder(features, pyramid)[-1]
        return self.head(self.pool(coarsest, pyramid.levels[-1].batch, pyramid.num_clouds))


def _pointnet2_arguments(
    in_channels: int, spacing: float, channels: Sequence[int], num_neighbors: int, dim: int
) -> dict[str, Any]:
    return {
        "in_channels": in_channels,
        "spacing": spacing,
        "channels": list(channels),
        "num_neighbors": num_neighbors,
        "dim": dim,
    }


def _classification_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, 256), nn.LayerNorm(256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, num_classes)
    )


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
    networks = (PointNet, PointNetClassifier, PointNet2, PointNet2Classifier)
    MODELS.update({network.name: network for network in networks})

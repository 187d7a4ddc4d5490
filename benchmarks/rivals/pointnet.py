"""PointNet and a PointNet++-style network on the same pyramids and recipes as the library's networks.

Source: Qi et al., "PointNet", CVPR 2017, without the input transforms, which rotated scenes do not need; Qi et al.,
"PointNet++", NeurIPS 2017, with one scale a level and the library's voxel levels in place of farthest points.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gridless.models import MODELS
from gridless.models.base import Network, require
from gridless.models.encoder import EncoderConfig
from gridless.neighbors import Neighborhoods
from gridless.nn import GlobalPool, PointwiseBlock, Upsample
from gridless.pyramid import Pyramid, PyramidSettings


@dataclass(frozen=True)
class PointNetConfig:
    """Shape of the networks.

    Args:
        in_channels: features a point.
        num_classes: logits a point, or an object.
        spacing: distance between neighboring points.
        channels: widths of PointNet before the maximum; of PointNet++ those of its levels, finest first.
        dim: of the positions.
        dropout: of the classifiers.
    """

    in_channels: int
    num_classes: int
    spacing: float
    channels: list[int]
    dim: int
    dropout: float

    @property
    def levels(self) -> EncoderConfig:
        """The library's, for the same pyramid."""
        return EncoderConfig(
            self.in_channels,
            self.dim,
            self.spacing,
            self.channels,
            blocks=(1,) * len(self.channels),
        )

    def classification_head(self) -> nn.Sequential:
        """Linear layers that an object's features end in."""
        layers = [nn.Linear(self.channels[-1], 256), nn.LayerNorm(256), nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear(256, self.num_classes))


class _Rival(Network, ABC):
    """What all of them are built with; arguments of :class:`PointNetConfig`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        spacing: float = 1.0,
        channels: Sequence[int] = (64, 64, 128, 384),
        dim: int = 3,
        dropout: float = 0.3,
    ) -> None:
        self.shape = PointNetConfig(in_channels, num_classes, spacing, list(channels), dim, dropout)
        super().__init__(asdict(self.shape))
        self.add_layers()

    @abstractmethod
    def add_layers(self) -> None:
        """Make the layers of ``self.shape``."""


class _OnePointNet(_Rival):
    """One network a point and the maximum over each cloud, before whatever comes then."""

    def add_layers(self) -> None:
        widths = [self.shape.in_channels + self.shape.dim, *self.shape.channels]
        self.blocks = nn.ModuleList(PointwiseBlock(before, after) for before, after in itertools.pairwise(widths))
        self.pool = GlobalPool("max")

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return PyramidSettings((), 1, 1)

    def encoded(self, features: Tensor, pyramid: Pyramid) -> tuple[Tensor, Tensor]:
        """features [N, C_in] → after the first block [N, channels[0]], and the maximum [B, channels[-1]]."""
        self.check_inputs(features, pyramid)
        points = pyramid.levels[0]
        local = self.blocks[0](torch.cat([points.positions / (10 * self.shape.spacing), features], dim=1))
        hidden = local
        for block in itertools.islice(self.blocks, 1, None):
            hidden = block(hidden)
        return local, self.pool(hidden, points.batch, pyramid.num_clouds)


class PointNet(_OnePointNet):
    """One network a point, the maximum over the crop, and one network a point again."""

    name = "pointnet"

    def add_layers(self) -> None:
        super().add_layers()
        width = self.shape.channels[0] + self.shape.channels[-1]
        self.head = nn.Sequential(
            PointwiseBlock(width, 256), PointwiseBlock(256, 128), nn.Linear(128, self.shape.num_classes)
        )

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        local, whole = self.encoded(features, pyramid)
        return self.head(torch.cat([local, whole[pyramid.levels[0].batch]], dim=1))


class PointNetClassifier(_OnePointNet):
    """One network a point, the maximum over the object, and linear layers."""

    task = "classification"
    name = "pointnet_classifier"

    def add_layers(self) -> None:
        super().add_layers()
        self.head = self.shape.classification_head()

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [B, num_classes]."""
        return self.head(self.encoded(features, pyramid)[1])


class _ByLevels(_Rival):
    """At each level the maximum over the neighbors of an MLP of their features and offsets."""

    def add_layers(self) -> None:
        widths = [self.shape.in_channels, *self.shape.channels]
        self.abstractions = nn.ModuleList(
            nn.Sequential(PointwiseBlock(before + self.shape.dim, after), PointwiseBlock(after, after))
            for before, after in itertools.pairwise(widths)
        )

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.shape.levels.pyramid_settings

    def encoded(self, features: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """features [N, C_in] → those of every level, finest first."""
        self.check_inputs(features, pyramid)
        levels, found = self.shape.levels, []
        for depth, (level, network) in enumerate(zip(pyramid.levels, self.abstractions, strict=True)):
            finer = pyramid.levels[max(0, depth - 1)]
            neighborhoods = level.neighborhoods if depth == 0 else require(level.pooling, level)
            scale = levels.scale(depth)
            features = _abstracted(features, finer.positions / scale, level.positions / scale, neighborhoods, network)
            found.append(features)
        return found


class PointNet2(_ByLevels):
    """Abstraction level by level, then interpolation back to the points."""

    name = "pointnet2"

    def add_layers(self) -> None:
        super().add_layers()
        channels = self.shape.channels
        self.upsample = Upsample()
        self.decoders = nn.ModuleList(
            nn.Sequential(PointwiseBlock(finer + coarser, finer), PointwiseBlock(finer, finer))
            for finer, coarser in itertools.pairwise(channels)
        )
        self.classifier = nn.Linear(channels[0], self.shape.num_classes)

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        *encoded, features = self.encoded(features, pyramid)
        for depth in reversed(range(len(encoded))):
            finer, coarser = pyramid.levels[depth], pyramid.levels[depth + 1]
            carried = self.upsample(features, coarser.positions, finer.positions, require(coarser.upsampling, coarser))
            features = self.decoders[depth](torch.cat([encoded[depth], carried], dim=1))
        return self.classifier(features)


class PointNet2Classifier(_ByLevels):
    """Abstraction level by level, the maximum over the object, and linear layers."""

    task = "classification"
    name = "pointnet2_classifier"

    def add_layers(self) -> None:
        super().add_layers()
        self.pool = GlobalPool("max")
        self.head = self.shape.classification_head()

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [B, num_classes]."""
        coarsest = self.encoded(features, pyramid)[-1]
        return self.head(self.pool(coarsest, pyramid.levels[-1].batch, pyramid.num_clouds))


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

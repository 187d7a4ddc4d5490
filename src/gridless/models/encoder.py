"""The encoder that segmentation and classification share: convolutions on ever fewer points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from gridless.models.base import require
from gridless.nn import BottleneckBlock, ConvBlock, PointwiseBlock, Pool
from gridless.pyramid import Level, Pyramid, PyramidSettings

# A voxel grid leaves points about one voxel apart; 16 of them around a point on a surface reach about 2.5 voxels far.
_SUPPORT_IN_VOXELS = 2.5


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder.

    Args:
        in_channels: features a point.
        dim: D.
        spacing: distance between neighboring points at level 0, in the unit of the positions.
        channels: width of each level, finest first; each further level has voxels twice as large.
        blocks: residual blocks at each level.
        bottleneck: a block convolves this many times fewer channels than its level has.
        hidden: hidden widths of the kernels' MLP.
        num_neighbors: K within a level and in pooling.
        window: see ``gridless.nn.ContinuousConv``.
        pooling: "max" or "mean" over the support domain.
    """

    in_channels: int
    dim: int = 3
    spacing: float = 1.0
    channels: Sequence[int] = (32, 64, 128, 256)
    blocks: Sequence[int] = (1, 1, 1, 1)
    bottleneck: int = 4
    hidden: Sequence[int] = (16, 16)
    num_neighbors: int = 16
    window: str | None = None
    pooling: str = "max"

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels must name the width of at least one level, got none")
        if not self.spacing > 0:
            raise ValueError(f"spacing must be positive, got {self.spacing}")
        for name in ("bottleneck", "num_neighbors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.blocks) != len(self.channels):
            raise ValueError(
                f"blocks must have one number a level like channels ({len(self.channels)}), got {list(self.blocks)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that rebuild it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def pyramid_settings(self) -> PyramidSettings:
        """The levels it works on."""
        sizes = tuple(self.spacing * 2.0**level for level in range(1, len(self.channels)))
        return PyramidSettings(sizes, self.num_neighbors, self.num_neighbors)

    def scale(self, level: int) -> float:
        """About the radius of a support at a level."""
        return _SUPPORT_IN_VOXELS * self.spacing * 2.0**level


class _Stage(nn.ModuleList):
    """Blocks of one level, one after the other."""

    def forward(self, features: Tensor, level: Level) -> Tensor:
        for block in self:
            features = block(features, level.positions, level.neighborhoods)
        return features


class Encoder(nn.Module):
    """Stem, then at each level residual blocks, then max pooling onto the next level's points."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        first = config.channels[0]
        self.stem = ConvBlock(
            config.in_channels, first, config.dim, config.hidden, window=config.window, scale=config.scale(0)
        )
        self.stages = nn.ModuleList()
        self.widen = nn.ModuleList()
        self.pool = Pool(config.pooling)
        for level, (channels, num_blocks) in enumerate(zip(config.channels, config.blocks, strict=True)):
            if level > 0:
                self.widen.append(PointwiseBlock(config.channels[level - 1], channels))
            self.stages.append(
                _Stage(
                    BottleneckBlock(
                        channels,
                        max(1, channels // config.bottleneck),
                        config.dim,
                        config.hidden,
                        window=config.window,
                        scale=config.scale(level),
                    )
                    for _ in range(num_blocks)
                )
            )

    def forward(self, features: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """features [N, C_in] of level 0 → features of every level, finest first."""
        finest = pyramid.levels[0]
        features = self.stem(features, finest.positions, finest.positions, finest.neighborhoods)
        outputs: list[Tensor] = []
        for depth, (level, stage) in enumerate(zip(pyramid.levels, self.stages, strict=True)):
            if depth > 0:
                # Widening each fine point first costs more; pooled points are fewer.
                features = self.widen[depth - 1](self.pool(features, require(level.pooling, level)))
            features = stage(features, level)
            outputs.append(features)
        return outputs

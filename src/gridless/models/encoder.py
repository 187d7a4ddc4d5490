"""The encoder that segmentation and classification share: convolutions on ever fewer points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from gridless.models.base import require, require_widths
from gridless.nn import BottleneckBlock, ConvBlock, FourierFeatures, InvertedBlock, PointwiseBlock, Pool
from gridless.pyramid import Level, Pyramid, PyramidSettings

# Of the Fourier features: enough to tell halves of a support apart.
_FREQUENCIES, _SPREAD = 8, 2.0
_CHOICES = {
    "block": ("bottleneck", "inverted"),
    "normalization": ("batch", "layer"),
    "encoding": ("offset", "fourier"),
    "pooling": ("max", "mean", "convolution"),
    "stem": ("convolution", "pointwise"),
    "reduce": ("mean", "density"),
}


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder.

    Args:
        in_channels: features a point.
        dim: D.
        spacing: distance between neighboring points at level 0, in the unit of the positions.
        channels: width of each level, finest first; each further level has voxels twice as large.
        blocks: residual blocks at each level.
        block: "bottleneck" (convolution of few channels between 1×1 layers) or "inverted" (factorized convolution of
            all channels, then a wider layer).
        bottleneck: a bottleneck block convolves this many times fewer channels than its level has.
        expansion: how many times wider an inverted block is inside.
        hidden: hidden widths of the kernels' MLP.
        activation: of the kernels' MLP: "relu", "silu", "gelu" or "sine".
        factorized: the paper's cheaper kernels.
        scale_in_voxels: length, in voxels of the level, that the kernels' MLP sees as 1. A voxel grid leaves points
            about one voxel apart; 16 of them around a point on a surface reach about 2.5 voxels far.
        vertical_scale: that of the last axis, as a part of the others'; below 1, heights are told apart more finely.
        encoding: what the kernels' MLP sees: the "offset" or "fourier" features of it.
        num_neighbors: K within a level and in pooling.
        dilations: supports of a level's blocks, which share their channels: 2 takes every second of 2 K neighbors.
        window: see ``gridless.nn.ContinuousConv``.
        reduce: "mean" over a support, or divided by the "density" of its points, so that thickly sampled places do
            not count for more.
        pooling: "max" or "mean" over the support domain, or a factorized "convolution" onto the coarser points.
        normalization: "batch" or "layer".
        stochastic_depth: probability of leaving out the last block in a training step; falls to 0 towards the first.
        stem: the first layer: "convolution", or "pointwise" where level 0 only keeps fine detail for the decoder.

    Raises:
        ValueError: no level, a number that is not positive, lists of unequal length, or an unknown choice.
    """

    in_channels: int
    dim: int = 3
    spacing: float = 1.0
    channels: Sequence[int] = (32, 64, 128, 256)
    blocks: Sequence[int] = (1, 1, 1, 1)
    block: str = "bottleneck"
    bottleneck: int = 4
    expansion: int = 4
    hidden: Sequence[int] = (16, 16)
    activation: str = "relu"
    factorized: bool = False
    scale_in_voxels: float = 2.5
    vertical_scale: float = 1.0
    encoding: str = "offset"
    num_neighbors: int = 16
    dilations: Sequence[int] = (1,)
    window: str | None = None
    reduce: str = "mean"
    pooling: str = "max"
    normalization: str = "batch"
    stochastic_depth: float = 0.0
    stem: str = "convolution"

    def __post_init__(self) -> None:
        require_widths("channels", self.channels)
        if min(self.blocks, default=0) < 0:
            raise ValueError(f"blocks must be numbers from 0 on, got {list(self.blocks)}")
        for name in ("spacing", "scale_in_voxels", "vertical_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("bottleneck", "expansion", "num_neighbors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be numbers from 1 on, got {list(self.dilations)}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
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
        widest = max(self.dilations) * self.num_neighbors
        finest = 1 if self.stem == "pointwise" and self.blocks[0] == 0 else None
        return PyramidSettings(sizes, widest, self.num_neighbors, finest_neighbors=finest)

    def supports(self, level: Level) -> tuple[Any, ...]:
        """The neighborhoods within a level, one for each dilation."""
        if tuple(self.dilations) == (1,):
            return (level.neighborhoods,)
        return tuple(level.neighborhoods.dilated(step, self.num_neighbors) for step in self.dilations)

    def kernel(self, level: int) -> dict[str, Any]:
        """What all convolutions among the points of a level have in common, as arguments of ``ConvBlock``."""
        basis = partial(FourierFeatures, self.dim, _FREQUENCIES, _SPREAD, self.hidden)
        return {
            "dim": self.dim,
            "hidden": self.hidden,
            "basis": basis if self.encoding == "fourier" else None,
            "activation": self.activation,
            "window": self.window,
            "reduce": self.reduce,
            "factorized": self.factorized,
            "normalization": self.normalization,
            "scale": self.scale(level) if self.vertical_scale == 1 else self._axis_scales(level),
        }

    def scale(self, level: int) -> float:
        """About the radius of a support at a level."""
        return self.scale_in_voxels * self.spacing * 2.0**level

    def _axis_scales(self, level: int) -> list[float]:
        scale = self.scale(level)
        return [scale] * (self.dim - 1) + [scale * self.vertical_scale]

    def residual_block(self, level: int, stochastic_depth: float) -> BottleneckBlock | InvertedBlock:
        """A block of a level."""
        channels = self.channels[level]
        options = {"supports": len(self.dilations), "stochastic_depth": stochastic_depth, **self.kernel(level)}
        if self.block == "inverted":
            return InvertedBlock(channels, self.expansion, **options)
        return BottleneckBlock(channels, max(1, channels // self.bottleneck), **options)


class _Stage(nn.ModuleList):
    """Blocks of one level, one after the other."""

    def forward(self, features: Tensor, level: Level, config: EncoderConfig) -> Tensor:
        supports = config.supports(level) if len(self) else ()
        for block in self:
            features = block(features, level.positions, *supports)
        return features


class Encoder(nn.Module):
    """Stem, then at each level residual blocks, then pooling onto the next level's points."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        first = config.channels[0]
        self.stem: nn.Module
        if config.stem == "pointwise":
            self.stem = PointwiseBlock(config.in_channels, first, normalization=config.normalization)
        else:
            self.stem = ConvBlock(config.in_channels, first, **config.kernel(0))
        self.pool = Pool(config.pooling) if config.pooling != "convolution" else None
        self.widen = nn.ModuleList(
            PointwiseBlock(finer, coarser, normalization=config.normalization)
            if self.pool is not None
            else ConvBlock(finer, coarser, **config.kernel(level) | {"factorized": True, "reduce": "mean"})
            for level, (finer, coarser) in enumerate(itertools.pairwise(config.channels))
        )
        depths = self._depths()
        self.stages = nn.ModuleList(
            _Stage(config.residual_block(level, next(depths)) for _ in range(num_blocks))
            for level, num_blocks in enumerate(config.blocks)
        )

    def forward(self, features: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """features [N, C_in] of level 0 → features of every level, finest first."""
        finest = pyramid.levels[0]
        if isinstance(self.stem, ConvBlock):
            near = finest.neighborhoods
            if max(self.config.dilations) > 1:
                near = near.dilated(1, self.config.num_neighbors)
            features = self.stem(features, finest.positions, finest.positions, near)
        else:
            features = self.stem(features)
        outputs = [self.stages[0](features, finest, self.config)]
        for depth, (finer, level) in enumerate(itertools.pairwise(pyramid.levels), 1):
            supports, widen = require(level.pooling, level), self.widen[depth - 1]
            if self.pool is None:
                features = widen(outputs[-1], finer.positions, level.positions, supports)
            else:
                # Widening each fine point first costs more; pooled points are fewer.
                features = widen(self.pool(outputs[-1], supports))
            outputs.append(self.stages[depth](features, level, self.config))
        return outputs

    def _depths(self) -> Iterator[float]:
        total = sum(self.config.blocks)
        return (self.config.stochastic_depth * (place + 1) / total for place in range(total))

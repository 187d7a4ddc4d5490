"""Continuous convolutions with normalization, activation and residual connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gridless.neighbors import Neighborhoods
from gridless.neighbors.neighborhoods import check_neighborhoods
from gridless.nn.bases import KernelBasis
from gridless.nn.continuous_conv import ContinuousConv
from gridless.nn.normalization import normalization_layer
from gridless.ops.extents import support_extents

# In units of a layer's scale, for copies of one point.
_SMALLEST_SUPPORT = 1e-2


class PointwiseBlock(nn.Sequential):
    """Linear layer at each point (a 1×1 convolution), normalization and, unless told otherwise, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, activation: bool = True, normalization: str = "batch"
    ) -> None:
        layers = [nn.Linear(in_channels, out_channels, bias=False), normalization_layer(normalization, out_channels)]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if activation else []))


class ConvBlock(nn.Module):
    """Continuous convolution, normalization and ReLU, with a residual connection where it is asked for.

    out = ReLU(norm(conv(f))) + f; where the widths differ, f goes through a linear layer first. With
    ``reduce="density"`` the density at a point is taken from the size of its own support, so the queries must be the
    sources.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        dim: D.
        hidden: the kernel's hidden widths.
        residual: add f.
        normalization: "batch" or "layer".
        basis: makes the family of kernels, if another than the MLP.
        kernel: further arguments of ``ContinuousConv``.

    Raises:
        TypeError: basis makes no basis.
        ValueError: as ``ContinuousConv``.

    Example:
        >>> import torch; from gridless.neighbors import knn
        >>> positions = torch.randn(50, 3)
        >>> block = ConvBlock(8, 8, residual=True)
        >>> block(torch.randn(50, 8), positions, positions, knn(positions, positions, 6)).shape
        torch.Size([50, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int = 3,
        hidden: Sequence[int] = (16, 32),
        *,
        residual: bool = False,
        normalization: str = "batch",
        basis: Callable[[], KernelBasis] | None = None,
        **kernel: Any,
    ) -> None:
        super().__init__()
        if basis is not None and (isinstance(basis, nn.Module) or not callable(basis)):
            raise TypeError(
                "ConvBlock: basis must be a function that makes a KernelBasis, such as lambda: GaussianRadial(8, 1.0), "
                f"got {type(basis).__name__}"
            )
        kernel["basis"] = None if basis is None else basis()
        self.convolution = ContinuousConv(in_channels, out_channels, dim, hidden, bias=False, **kernel)
        self.normalization = normalization_layer(normalization, out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if residual:
            same = in_channels == out_channels
            self.shortcut = nn.Identity() if same else nn.Linear(in_channels, out_channels, bias=False)

    def forward(
        self, features: Tensor, source_positions: Tensor, query_positions: Tensor, neighborhoods: Neighborhoods
    ) -> Tensor:
        """[N, C_in] → [M, C_out]; with a residual connection the queries must be the sources.

        Raises:
            TypeError: neighborhoods are of another type.
            ValueError: the queries should be the sources and are not, or see ``ContinuousConv``.
        """
        by_density = self.convolution.reduce == "density"
        # Sizes by shape: len would fix them in a program that is exported.
        num_sources, num_queries = source_positions.shape[0], query_positions.shape[0]
        if (by_density or self.shortcut is not None) and num_sources != num_queries:
            raise ValueError(
                "ConvBlock: with a residual connection or reduce='density' the queries must be the sources, "
                f"got {num_sources} sources and {num_queries} queries"
            )
        weighting = {}
        if by_density:
            lengths = self.convolution.axis_scales or (self.convolution.scale,)
            weighting["density"] = _surface_density(source_positions / max(lengths), neighborhoods)
        out = self.convolution(features, source_positions, query_positions, neighborhoods, **weighting)
        out = self.activation(self.normalization(out))
        return out if self.shortcut is None else out + self.shortcut(features)


class MultiScaleConvBlock(nn.ModuleList):
    """One ConvBlock a support, each for its part of the output channels.

    Args:
        in_channels: C_in.
        out_channels: C_out, at least one for each support.
        supports: how many neighborhoods ``forward`` takes.
        block: further arguments of ``ConvBlock``.

    Raises:
        ValueError: more supports than channels.

    Example:
        >>> import torch; from gridless.neighbors import knn
        >>> positions = torch.randn(50, 3)
        >>> near, far = (knn(positions, positions, k) for k in (6, 20))
        >>> MultiScaleConvBlock(8, 9, 2)(torch.randn(50, 8), positions, near, far).shape
        torch.Size([50, 9])
    """

    def __init__(self, in_channels: int, out_channels: int, supports: int, **block: Any) -> None:
        if not 1 <= supports <= out_channels:
            raise ValueError(f"MultiScaleConvBlock: supports must be 1 to C_out = {out_channels}, got {supports}")
        parts = [len(part) for part in torch.arange(out_channels).tensor_split(supports)]
        super().__init__(ConvBlock(in_channels, part, **block) for part in parts)

    def forward(self, features: Tensor, positions: Tensor, *neighborhoods: Neighborhoods) -> Tensor:
        """features [N, C_in] at positions [N, D] → [N, C_out]."""
        parts = [block(features, positions, positions, rows) for block, rows in zip(self, neighborhoods, strict=True)]
        return torch.cat(parts, dim=1)


class StochasticDepth(nn.Module):
    """Leaves out a residual branch in a share of the training steps; out = branch · keep / (1 - p), keep 0 or 1.

    Args:
        probability: p, of leaving the branch out.

    Raises:
        ValueError: not in [0, 1).

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.

    Example:
        >>> import torch; _ = torch.manual_seed(0)
        >>> layer, ones = StochasticDepth(0.5), torch.ones(1)
        >>> sorted({float(layer(ones)) for _ in range(20)}), float(layer.eval()(ones))
        ([0.0, 2.0], 1.0)
    """

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"StochasticDepth: probability must be in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """A tensor of any shape → the same shape."""
        if not self.training or self.probability == 0:
            return branch
        # Multiplied, not skipped: processes of a distributed training wait for the gradients of all parameters.
        keep = torch.rand((), device=branch.device) >= self.probability
        return branch * (keep / (1 - self.probability))

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


class BottleneckBlock(nn.Module):
    """Residual block with the convolution between two 1×1 layers, where few channels make it cheap.

    out = ReLU(f + norm(up(block(ReLU(norm(down(f)))))))  with a ConvBlock in the middle

    Args:
        channels: C on both sides.
        bottleneck: channels of the convolution.
        supports: how many neighborhoods share the convolution's channels.
        stochastic_depth: probability of leaving the branch out in a training step.
        normalization: "batch" or "layer".
        block: further arguments of ``ConvBlock``.
    """

    def __init__(
        self,
        channels: int,
        bottleneck: int,
        *,
        supports: int = 1,
        stochastic_depth: float = 0.0,
        normalization: str = "batch",
        **block: Any,
    ) -> None:
        super().__init__()
        self.down = PointwiseBlock(channels, bottleneck, normalization=normalization)
        self.convolution = _convolution(bottleneck, supports, normalization=normalization, **block)
        self.up = PointwiseBlock(bottleneck, channels, activation=False, normalization=normalization)
        self.stochastic_depth = StochasticDepth(stochastic_depth)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor, positions: Tensor, *neighborhoods: Neighborhoods) -> Tensor:
        """features [N, C] at positions [N, D] → [N, C]."""
        out = _convolve(self.convolution, self.down(features), positions, neighborhoods)
        return self.activation(features + self.stochastic_depth(self.up(out)))


class InvertedBlock(nn.Module):
    """Residual block with a factorized convolution of all channels, then a wider layer at each point.

    out = f + norm(linear(GELU(linear(block(f)))))  with a ConvBlock inside and ``expansion`` times the channels between
    the linear layers.

    Args:
        channels: C on both sides.
        expansion: how many times wider the layer between is.
        supports: how many neighborhoods share the convolution's channels.
        stochastic_depth: probability of leaving the branch out in a training step.
        normalization: "batch" or "layer".
        block: further arguments of ``ConvBlock``.

    Source: the order of layers of Liu et al., "A ConvNet for the 2020s", CVPR 2022.

    Example:
        >>> import torch; from gridless.neighbors import knn
        >>> positions = torch.randn(50, 3)
        >>> InvertedBlock(8)(torch.randn(50, 8), positions, knn(positions, positions, 6)).shape
        torch.Size([50, 8])
    """

    def __init__(
        self,
        channels: int,
        expansion: int = 4,
        *,
        supports: int = 1,
        stochastic_depth: float = 0.0,
        normalization: str = "batch",
        **block: Any,
    ) -> None:
        super().__init__()
        block = {**block, "factorized": True}
        self.convolution = _convolution(channels, supports, normalization=normalization, **block)
        self.widen = nn.Linear(channels, expansion * channels)
        self.activation = nn.GELU()
        self.narrow = PointwiseBlock(expansion * channels, channels, activation=False, normalization=normalization)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def forward(self, features: Tensor, positions: Tensor, *neighborhoods: Neighborhoods) -> Tensor:
        """features [N, C] at positions [N, D] → [N, C]."""
        out = _convolve(self.convolution, features, positions, neighborhoods)
        return features + self.stochastic_depth(self.narrow(self.activation(self.widen(out))))


def _surface_density(positions: Tensor, neighborhoods: Neighborhoods) -> Tensor:
    """1 / r^(D - 1) at each point [N], r the distance of the farthest point of its support: points lie on surfaces."""
    check_neighborhoods("ConvBlock", neighborhoods)
    radii = support_extents(positions, positions, neighborhoods.indices, neighborhoods.offsets)
    return radii.clamp(min=_SMALLEST_SUPPORT) ** (1 - positions.shape[1])


def _convolution(channels: int, supports: int, **block: Any) -> ConvBlock | MultiScaleConvBlock:
    if supports == 1:
        return ConvBlock(channels, channels, **block)
    return MultiScaleConvBlock(channels, channels, supports, **block)


def _convolve(
    block: ConvBlock | MultiScaleConvBlock, features: Tensor, positions: Tensor, supports: Sequence[Neighborhoods]
) -> Tensor:
    if isinstance(block, ConvBlock):
        (neighborhoods,) = supports
        return block(features, positions, positions, neighborhoods)
    return block(features, positions, *supports)

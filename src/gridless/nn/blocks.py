"""Continuous convolutions with normalization, activation and residual connections."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gridless.neighbors import Neighborhoods
from gridless.nn.continuous_conv import ContinuousConv
from gridless.nn.normalization import BatchNorm


class PointwiseBlock(nn.Sequential):
    """Linear layer at each point (a 1×1 convolution), batch normalization and, unless told otherwise, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, activation: bool = True) -> None:
        layers: list[nn.Module] = [nn.Linear(in_channels, out_channels, bias=False), BatchNorm(out_channels)]
        super().__init__(*layers, *([nn.ReLU()] if activation else []))


class ConvBlock(nn.Module):
    """Continuous convolution, batch normalization and ReLU, with a residual connection where it is asked for.

    out = ReLU(BN(conv(f))) + f; where the widths differ, f goes through a linear layer first.

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
        window: str | None = None,
        factorized: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.convolution = ContinuousConv(
            in_channels, out_channels, dim, hidden, window, bias=False, factorized=factorized, scale=scale
        )
        self.normalization = BatchNorm(out_channels)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if residual:
            same = in_channels == out_channels
            self.shortcut = nn.Identity() if same else nn.Linear(in_channels, out_channels, bias=False)

    def forward(
        self, features: Tensor, source_positions: Tensor, query_positions: Tensor, neighborhoods: Neighborhoods
    ) -> Tensor:
        """[N, C_in] → [M, C_out]; with a residual connection the queries must be the sources."""
        out = self.convolution(features, source_positions, query_positions, neighborhoods)
        out = self.activation(self.normalization(out))
        return out if self.shortcut is None else out + self.shortcut(features)


class BottleneckBlock(nn.Module):
    """Residual block with the convolution between two 1×1 layers, where few channels make it cheap.

    out = ReLU(f + BN(up(ConvBlock(ReLU(BN(down(f)))))))

    Args:
        channels: C on both sides.
        bottleneck: channels of the convolution.
        dim: D.
        hidden: the kernel's hidden widths.
        window: see ``ContinuousConv``.
        scale: see ``ContinuousConv``.
    """

    def __init__(
        self,
        channels: int,
        bottleneck: int,
        dim: int = 3,
        hidden: Sequence[int] = (16, 16),
        *,
        window: str | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.down = PointwiseBlock(channels, bottleneck)
        self.convolution = ConvBlock(bottleneck, bottleneck, dim, hidden, window=window, scale=scale)
        self.up = PointwiseBlock(bottleneck, channels, activation=False)
        self.activation = nn.ReLU()

    def forward(self, features: Tensor, positions: Tensor, neighborhoods: Neighborhoods) -> Tensor:
        """features [N, C] at positions [N, D] → [N, C]."""
        out = self.convolution(self.down(features), positions, positions, neighborhoods)
        return self.activation(features + self.up(out))

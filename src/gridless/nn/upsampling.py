"""From few points to more points."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gridless.neighbors import Neighborhoods
from gridless.neighbors.neighborhoods import check_neighborhoods
from gridless.nn.continuous_conv import ContinuousConv
from gridless.ops.interpolation import interpolate


class Upsample(nn.Module):
    """Carries features onto more points, by inverse-distance interpolation or a learned continuous convolution.

    Args:
        mode: "inverse_distance" (w = |x_i - y_j|^-2, no parameters) or "convolution".
        channels: C, needed for "convolution".
        dim: D, for "convolution".
        hidden: the kernel's hidden widths, for "convolution".
        scale: length that the kernel sees as 1, for "convolution".

    Raises:
        ValueError: an unknown mode, or "convolution" without channels.

    Example:
        >>> import torch; from gridless.neighbors import knn
        >>> coarse, fine = torch.randn(10, 3), torch.randn(40, 3)
        >>> Upsample()(torch.randn(10, 8), coarse, fine, knn(coarse, fine, 3)).shape
        torch.Size([40, 8])
    """

    def __init__(
        self,
        mode: str = "inverse_distance",
        channels: int | None = None,
        dim: int = 3,
        hidden: Sequence[int] = (16, 16),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if mode not in ("inverse_distance", "convolution"):
            raise ValueError(f"Upsample: mode must be 'inverse_distance' or 'convolution', got {mode!r}")
        self.mode = mode
        self.convolution: ContinuousConv | None = None
        if mode == "convolution":
            if channels is None:
                raise ValueError("Upsample: mode 'convolution' needs channels")
            self.convolution = ContinuousConv(channels, channels, dim, hidden, scale=scale)

    def forward(
        self, features: Tensor, source_positions: Tensor, query_positions: Tensor, neighborhoods: Neighborhoods
    ) -> Tensor:
        """features [N, C] at source_positions [N, D] → [M, C] at query_positions [M, D]."""
        if self.convolution is not None:
            return self.convolution(features, source_positions, query_positions, neighborhoods)
        check_neighborhoods("Upsample", neighborhoods)
        return interpolate(features, source_positions, query_positions, neighborhoods.indices, neighborhoods.offsets)

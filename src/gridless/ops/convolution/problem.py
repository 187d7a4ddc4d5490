"""One call of a convolution as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.ops.convolution.kernel import Kernel

# Sorting the pairs by source costs about as much as this many multiply-adds a pair.
_SORT_MULTIPLY_ADDS = 1000


@dataclass(frozen=True)
class Problem:
    """The tensors of one call.

    ``mean`` asks for means instead of sums over the supports. Where ``tangents`` names directions, φ's derivative along
    them takes the place of φ.
    """

    features: Tensor
    source_positions: Tensor
    query_positions: Tensor
    indices: Tensor
    offsets: Tensor
    weight: Tensor
    kernel: Kernel
    extents: Tensor | None
    mean: bool = False
    tangents: Mapping[str, Tensor] | None = None

    @property
    def depthwise(self) -> bool:
        """Factorized kernels: weight is [H, C] instead of [H, C_in, C_out]."""
        return self.weight.ndim == 2

    def differentiable(self) -> dict[str, Tensor]:
        """Every tensor that can have a gradient, by name."""
        tensors = {
            "features": self.features,
            "source_positions": self.source_positions,
            "query_positions": self.query_positions,
            "weight": self.weight,
        }
        if self.extents is not None:
            tensors["extents"] = self.extents
        return tensors | kernel_tensors(self.kernel)

    def averaged(self, sums: Tensor, out: Tensor | None = None) -> Tensor:
        """Sums over the supports [M, C_out], over the supports' sizes where means are asked for; into ``out``."""
        if not self.mean:
            return sums
        return torch.mul(sums, self.offsets.diff().clamp_min(1).to(sums.dtype).reciprocal()[:, None], out=out)

    def aggregates_first(self) -> bool:
        """Which order of the two contractions takes fewer multiply-adds."""
        if self.depthwise:
            return True
        num_pairs = self.indices.numel()
        width, in_channels, out_channels = self.weight.shape
        gemm = width * in_channels * out_channels
        aggregate = num_pairs * width * in_channels + self.query_positions.shape[0] * gemm
        transform = num_pairs * (width * out_channels + _SORT_MULTIPLY_ADDS) + self.features.shape[0] * gemm
        return aggregate <= transform

    def weight_from_columns(self, rows_are_queries: bool, dtype: torch.dtype) -> Tensor:
        """W as [H, C_col, C_row], contiguous: columns are sources where rows are queries, and the other way round."""
        weight = self.weight.to(dtype)
        return (weight if rows_are_queries else weight.transpose(1, 2)).contiguous()


def kernel_tensors(kernel: Kernel) -> dict[str, Tensor]:
    """The kernel's parameters by name."""
    basis = {f"basis.{place}": parameter for place, parameter in enumerate(kernel.basis_parameters)}
    return basis | {f"window.{place}": parameter for place, parameter in enumerate(kernel.window_parameters)}

"""Hierarchical encoder-decoder of continuous convolutions: the default for segmentation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from gridless.models.base import Network, require
from gridless.models.encoder import Encoder, EncoderConfig
from gridless.nn import PointwiseBlock, Upsample
from gridless.pyramid import Pyramid, PyramidSettings


class _Decoder(PointwiseBlock):
    """ReLU(norm(W [f ; U g])) of the encoder's features f at fine points and U g, interpolated from coarse ones.

    Computed as W₁ f + U (W₂ g), the same since interpolation is linear: one product is taken at the coarse points,
    which are fewer, less is interpolated, and f and U g never lie side by side in memory.
    """

    def __init__(self, finer: int, coarser: int, normalization: str) -> None:
        super().__init__(finer + coarser, finer, normalization=normalization)
        self.widths = (finer, coarser)

    def forward(self, fine: Tensor, coarse: Tensor, interpolate: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        """fine [M, finer], coarse [N, coarser] → [M, finer]; ``interpolate`` carries [N, C] to [M, C]."""
        of_fine, of_coarse = cast(nn.Linear, self[0]).weight.split(self.widths, dim=1)
        features = torch.addmm(interpolate(coarse @ of_coarse.T), fine, of_fine.T)
        for layer in list(self)[1:]:
            features = layer(features)
        return features


class PCCNUNet(Network):
    """Encoder, then level by level interpolation onto more points, joined with what the encoder had there.

    Args:
        in_channels: features a point.
        num_classes: logits a point.
        dropout: before the last layer.
        encoder: further arguments of ``EncoderConfig``.

    Example:
        >>> model = PCCNUNet(4, 3, channels=(8, 16), blocks=(1, 1))
        >>> pyramid = Pyramid.build(torch.rand(200, 3) * 20, model.pyramid_settings)
        >>> model(torch.randn(200, 4), pyramid).shape
        torch.Size([200, 3])
    """

    name = "pccn_unet"

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.0, **encoder: Any) -> None:
        config = EncoderConfig(in_channels, **encoder)
        super().__init__({"num_classes": num_classes, "dropout": dropout, **config.to_dict()})
        self.encoder = Encoder(config)
        self.upsample = Upsample()
        widths = list(config.channels)
        self.decoders = nn.ModuleList(
            _Decoder(finer, coarser, config.normalization) for finer, coarser in itertools.pairwise(widths)
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[0], num_classes))

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.encoder.config.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [N, num_classes]."""
        self.check_inputs(features, pyramid)
        encoded = self.encoder(features, pyramid)
        features = encoded.pop()
        for depth in reversed(range(len(encoded))):
            finer, coarser = pyramid.levels[depth], pyramid.levels[depth + 1]
            carry = partial(
                self.upsample,
                source_positions=coarser.positions,
                query_positions=finer.positions,
                neighborhoods=require(coarser.upsampling, coarser),
            )
            features = self.decoders[depth](encoded[depth], features, carry)
        return self.classifier(features)

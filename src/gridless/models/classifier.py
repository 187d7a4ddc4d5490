"""One label a cloud: the encoder with global pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gridless.models.base import Network
from gridless.models.encoder import Encoder, EncoderConfig
from gridless.nn import GlobalPool
from gridless.pyramid import Pyramid, PyramidSettings


class Classifier(Network):
    """Encoder, then maximum and mean over each cloud's coarsest points, then two linear layers.

    Args:
        in_channels: features a point.
        num_classes: logits a cloud.
        dropout: between the linear layers.
        encoder: further arguments of ``EncoderConfig``.

    Example:
        >>> model = Classifier(1, 10, channels=(8, 16), blocks=(1, 1), spacing=0.1)
        >>> pyramid = Pyramid.build(torch.rand(64, 3), model.pyramid_settings, torch.arange(64) // 32)
        >>> model(torch.ones(64, 1), pyramid).shape
        torch.Size([2, 10])
    """

    task = "classification"
    name = "classifier"

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.3, **encoder: Any) -> None:
        config = EncoderConfig(in_channels, **encoder)
        super().__init__({"num_classes": num_classes, "dropout": dropout, **config.to_dict()})
        self.encoder = Encoder(config)
        self.pools = nn.ModuleList([GlobalPool("max"), GlobalPool("mean")])
        width = config.channels[-1]
        # Layer normalization here: a batch may be a single cloud, of which batch normalization knows no variance.
        self.head = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, num_classes),
        )

    @property
    def pyramid_settings(self) -> PyramidSettings:
        return self.encoder.config.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → logits [B, num_classes]."""
        self.check_inputs(features, pyramid)
        coarsest = pyramid.levels[-1]
        encoded = self.encoder(features, pyramid)[-1]
        pooled = [pool(encoded, coarsest.batch, pyramid.num_clouds) for pool in self.pools]
        return self.head(torch.cat(pooled, dim=1))

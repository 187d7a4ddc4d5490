"""Modules to build networks from."""

from gridless.nn.bases import FourierFeatures, GaussianRadial, KernelBasis, KernelPoints, SplineGrid
from gridless.nn.blocks import (
    BottleneckBlock,
    ConvBlock,
    InvertedBlock,
    MultiScaleConvBlock,
    PointwiseBlock,
    StochasticDepth,
)
from gridless.nn.continuous_conv import ContinuousConv
from gridless.nn.normalization import BatchNorm, synchronize_normalization
from gridless.nn.pooling import GlobalPool, Pool
from gridless.nn.upsampling import Upsample

__all__ = [
    "BatchNorm",
    "BottleneckBlock",
    "ContinuousConv",
    "ConvBlock",
    "FourierFeatures",
    "GaussianRadial",
    "GlobalPool",
    "InvertedBlock",
    "KernelBasis",
    "KernelPoints",
    "MultiScaleConvBlock",
    "PointwiseBlock",
    "Pool",
    "SplineGrid",
    "StochasticDepth",
    "Upsample",
    "synchronize_normalization",
]

"""Modules to build networks from."""

from gridless.nn.blocks import BottleneckBlock, ConvBlock, PointwiseBlock
from gridless.nn.continuous_conv import ContinuousConv
from gridless.nn.normalization import BatchNorm
from gridless.nn.pooling import GlobalPool, Pool
from gridless.nn.upsampling import Upsample

__all__ = [
    "BatchNorm",
    "BottleneckBlock",
    "ContinuousConv",
    "ConvBlock",
    "GlobalPool",
    "PointwiseBlock",
    "Pool",
    "Upsample",
]

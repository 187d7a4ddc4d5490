"""The continuous convolution as a function of tensors."""

from gridless.ops.convolution.api import available_implementations, continuous_conv
from gridless.ops.convolution.basis import register_basis

__all__ = ["available_implementations", "continuous_conv", "register_basis"]

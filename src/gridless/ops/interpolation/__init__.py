"""Interpolation over supports as a function of tensors."""

from gridless.ops.interpolation.api import interpolate

__all__ = ["interpolate"]

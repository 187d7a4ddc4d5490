"""Pooling over supports as a function of tensors."""

from gridless.ops.pooling.api import pool

__all__ = ["pool"]

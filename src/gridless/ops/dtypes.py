"""In what sums are taken."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(features: Tensor) -> torch.dtype:
    """Sums are taken in float64 for float64 features and in float32 for everything narrower."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def widened(values: Tensor) -> Tensor:
    """In float32 or float64: squares of float16 overflow beyond 256, and sums of narrow numbers lose their digits."""
    return values.to(compute_dtype(values))

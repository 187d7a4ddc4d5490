"""The gate before any time is printed: contenders that compute the same function must agree."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: Where a pair's preactivation is about 0, rounding decides whether a ReLU lets its gradient pass: a few pairs of all.
_BEHIND_RELU, _RELU_TOLERANCE = "kernel_layers", 2e-2
#: Searches and subsampling may choose otherwise where distances tie within rounding.
_LEAST_AGREEMENT = 0.999


class DisagreementError(Exception):
    """Two contenders do not compute the same; the message says what differs and by how much."""


def check_agreement(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> float:
    """Compare outputs and gradients by name.

    Args:
        got: a contender's.
        expected: what they are compared with.
        tolerance: largest difference of a tensor as a part of its largest expected value; gradients of the kernels'
            hidden layers, which jump where a ReLU does, have 2e-2 at least.

    Returns:
        The largest difference found, as such a part.

    Raises:
        DisagreementError: it exceeds the tolerance (NaN does), or names or shapes differ.
    """
    if got.keys() != expected.keys():
        raise DisagreementError(f"gives {', '.join(got)} where {', '.join(expected)} are expected")
    worst = 0.0
    for name, value in expected.items():
        if got[name].shape != value.shape:
            raise DisagreementError(f"{name} has shape {tuple(got[name].shape)} instead of {tuple(value.shape)}")
        if not value.numel():
            continue
        scale = value.abs().max().clamp_min(torch.finfo(value.dtype).tiny)
        difference = float((got[name] - value).abs().max() / scale)
        allowed = max(tolerance, _RELU_TOLERANCE) if _BEHIND_RELU in name else tolerance
        if not difference <= allowed:
            raise DisagreementError(f"{name} differs by {difference:.1e} of its largest value, more than {allowed:g}")
        worst = max(worst, difference)
    return worst


def disagreement(agreement: float, what: str) -> str:
    """What is wrong where only this part of what was chosen agrees with a rival; "" where nothing is.

    Args:
        agreement: 0 to 1.
        what: chosen, and by whom else: the message goes on with it.
    """
    return "" if agreement >= _LEAST_AGREEMENT else f"only {agreement:.4%} of {what}"

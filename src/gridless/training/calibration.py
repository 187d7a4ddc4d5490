"""Temperature scaling: one number that makes a network's confidence agree with how often it is right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

COLDEST, HOTTEST = 0.05, 20.0
_HALVINGS = 40


@torch.no_grad()
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that minimizes the cross-entropy of softmax(logits / T).

    The cross-entropy is convex in β = 1 / T, with the slope mean(Σ_c p_c z_c - z_label), whose zero is bisected.

    Args:
        logits: z [n, C] of points that the network was not trained on.
        labels: [n] classes in 0 .. C - 1.

    Returns:
        T in 0.05 .. 20: above 1 for an overconfident network, below 1 for a timid one; 1 without points.

    Raises:
        ValueError: ``labels`` has not one class a row of ``logits``.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0]] * 4)
        >>> temperature = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
        >>> [round(p, 3) for p in (logits[0] / temperature).softmax(dim=0).tolist()]
        [0.75, 0.25]
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"fit_temperature: labels must be [n] for logits [n, C], got {tuple(labels.shape)} and "
            f"{tuple(logits.shape)}"
        )
    if len(logits) == 0:
        return 1.0
    scores = logits.double()
    of_truth = scores.gather(1, labels[:, None]).mean()

    def slope(log_beta: float) -> float:
        expected = ((scores * math.exp(log_beta)).softmax(dim=1) * scores).sum(dim=1).mean()
        return float(expected - of_truth)

    low, high = -math.log(HOTTEST), -math.log(COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)

"""Whether predictions are as often right as their probabilities say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Not torchmetrics: its float32 counts end at 2^24 points a bin, it keeps all confidences, and gives those of exactly 1
# a bin of their own.


def calibration_sums(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], num_bins: int = 15, ignore_index: int = -1
) -> NDArray[np.float64]:
    """What the calibration error is computed from; sums of parts add up to those of the whole.

    A prediction of confidence c, its largest probability, is in bin k where k / B < c <= (k + 1) / B.

    Args:
        truth: true classes [N]; rows equal to ``ignore_index`` are not counted.
        probabilities: [N, C].
        num_bins: the number of bins B.
        ignore_index: the label of points without a known class.

    Returns:
        [3, B]: predictions, the sum of their confidences, and how many are right.

    Example:
        >>> calibration_sums(np.array([0, 0]), np.array([[1.0, 0.0], [0.25, 0.75]]), num_bins=2).tolist()
        [[0.0, 2.0], [0.0, 1.75], [0.0, 1.0]]
    """
    counted = truth != ignore_index
    truth, probabilities = truth[counted], probabilities[counted]
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    # in the type of the probabilities, so that 0.2 is a bin's end in float32 too
    inner_ends = (np.arange(1, num_bins) / num_bins).astype(probabilities.dtype)
    bins = np.searchsorted(inner_ends, confidence)
    return np.stack([np.bincount(bins, weights, num_bins) for weights in (np.ones(len(bins)), confidence, is_right)])


def expected_calibration_error(sums: NDArray[np.float64]) -> float:
    """Mean over all predictions of how far their bin's accuracy is from its mean confidence.

    Args:
        sums: of :func:`calibration_sums`.

    Returns:
        A number in 0 .. 1; NaN when nothing was counted.

    Example:
        >>> expected_calibration_error(np.array([[0.0, 2.0], [0.0, 1.75], [0.0, 1.0]]))
        0.375
    """
    count, confidence, right = sums
    return float(np.abs(right - confidence).sum() / count.sum()) if count.any() else float("nan")

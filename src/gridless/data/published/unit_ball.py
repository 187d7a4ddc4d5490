"""Objects of any size and unit brought to one size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_unit_ball(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, D], n > 0, moved and scaled so that their bounds' middle is the origin, the farthest at distance 1.

    Example:
        >>> in_unit_ball(np.array([[1.0, 0.0], [5.0, 0.0], [3.0, 0.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """
    centered = points - (points.min(axis=0) + points.max(axis=0)) / 2
    scaled: NDArray[np.float64] = centered / (np.linalg.norm(centered, axis=1).max() or 1.0)
    return scaled

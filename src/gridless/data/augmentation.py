"""Random changes to a training crop that leave its labels true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gridless.data.settings import unknown_name


@dataclass(frozen=True)
class AugmentationSettings:
    """What is changed at random in each training crop.

    Args:
        rotate: turn by any angle about the vertical axis.
        flip: mirror the first axis in half of the crops.
        scale: smallest and largest factor of all coordinates.
        keep: smallest and largest share of the points that is kept, each at random.
        jitter: standard deviation of the noise on each coordinate of each network point (metres).
        feature_shift: feature name -> standard deviation of an offset that all points of a crop share.
        feature_noise: feature name -> standard deviation of noise on each point.
        feature_dropout: feature name -> probability that a crop has zeros instead.
    """

    rotate: bool = True
    flip: bool = True
    scale: tuple[float, float] = (0.95, 1.05)
    keep: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    feature_shift: dict[str, float] = field(default_factory=dict)
    feature_noise: dict[str, float] = field(default_factory=dict)
    feature_dropout: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.keep[0] <= self.keep[1] <= 1:
            raise ValueError(f"augmentation.keep must be two shares, 0 < smallest <= largest <= 1, got {self.keep}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"augmentation.scale must be two factors, 0 < smallest <= largest, got {self.scale}")

    def check_names(self, features: Sequence[str]) -> None:
        """ValueError if a changed feature is not one of ``features``."""
        for table in ("feature_shift", "feature_noise", "feature_dropout"):
            for name in getattr(self, table):
                if name not in features:
                    raise ValueError(f"augmentation.{table}: no feature {unknown_name(name, features)}")

    def kept_rows(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of the points that are kept; one at least, and all without a draw where nothing is left out."""
        if self.keep == (1.0, 1.0) or len(rows) == 0:
            return rows
        kept = rows[rng.random(len(rows)) < rng.uniform(*self.keep)]
        return kept if len(kept) else rows[:1]

    def transform(self, dim: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """A random linear map [D, D] of local coordinates: rotation about the last axis, mirror, scale."""
        matrix = np.eye(dim)
        if self.rotate and dim >= 2:
            matrix[:2, :2] = rotation(rng.uniform(0.0, 2 * np.pi))
        if self.flip and rng.random() < 0.5:
            matrix[0] = -matrix[0]
        scaled: NDArray[np.float64] = matrix * rng.uniform(*self.scale)
        return scaled

    def change_points(
        self,
        positions: NDArray[np.float32],
        features: NDArray[np.float32],
        names: Sequence[str],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Jitter positions [M, D] and change features [M, C]; ``names`` [C] says which channel is which feature."""
        if self.jitter > 0:
            positions = positions + rng.normal(0.0, self.jitter, positions.shape).astype(np.float32)
        features = features.copy()
        channels = {name: [c for c, other in enumerate(names) if other == name] for name in names}
        for name, deviation in self.feature_shift.items():
            features[:, channels[name]] += np.float32(rng.normal(0.0, deviation))
        for name, deviation in self.feature_noise.items():
            shape = (len(features), len(channels[name]))
            features[:, channels[name]] += rng.normal(0.0, deviation, shape).astype(np.float32)
        for name, probability in self.feature_dropout.items():
            if rng.random() < probability:
                features[:, channels[name]] = 0.0
        return positions, features


def angles_of(votes: int) -> list[float]:
    """Angles that divide a full turn into as many equal parts, in radians.

    Raises:
        ValueError: fewer votes than one.

    Example:
        >>> [round(angle, 2) for angle in angles_of(4)]
        [0.0, 1.57, 3.14, 4.71]
    """
    if votes < 1:
        raise ValueError(f"votes must be at least 1, got {votes}")
    return [2 * np.pi * vote / votes for vote in range(votes)]


def rotation(angle: float) -> NDArray[np.float64]:
    """The matrix [2, 2] that turns by ``angle`` in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

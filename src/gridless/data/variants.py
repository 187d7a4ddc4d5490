"""Whole clouds changed before their features are computed: a training file may be learned from in several variants."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.crops import covering_centers

# Slopes of the hills of a random relief by their wavelength in metres.
_HILLS = ((600.0, 0.06), (250.0, 0.05), (100.0, 0.035), (45.0, 0.02))
_HILLS_OF_A_KIND = 4
_BANKS_PER_KILOMETRE = 10


@dataclass(frozen=True)
class CloudVariant:
    """What a cloud becomes before its features are computed.

    Args:
        density: see :func:`thinned`; None keeps every point.
        relief: see :func:`on_relief`; None leaves the ground as it is.

    Raises:
        ValueError: a density that is not positive, or a negative number of a relief.
    """

    density: float | None = None
    relief: int | None = None

    def __post_init__(self) -> None:
        if self.density is not None and not self.density > 0:
            raise ValueError(f"density must be positive, got {self.density}")
        if self.relief is not None and self.relief < 0:
            raise ValueError(f"relief must be a number from 0 on, got {self.relief}")

    def of(self, cloud: PointCloud) -> PointCloud:
        """The variant of a cloud; the cloud itself where nothing is asked for."""
        if self.density is not None:
            cloud = thinned(cloud, self.density)
        return cloud if self.relief is None else on_relief(cloud, self.relief)


def thinned(cloud: PointCloud, density: float) -> PointCloud:
    """A random part of the points, so many per square unit of the ground that the cloud covers; always the same part.

    The ground covered is counted in squares that hold about ten points each where points lie evenly.

    Example:
        >>> square = PointCloud(np.random.default_rng(0).random((10_000, 3)) * [100, 100, 10])
        >>> 900 < len(thinned(square, 0.1)) < 1100, len(thinned(square, 2.0))
        (True, 10000)
    """
    horizontal = cloud.horizontal
    if len(cloud) == 0:
        return cloud
    extent = np.prod(np.maximum(np.ptp(horizontal, axis=0), 1e-9))
    side = (10 * extent / len(cloud)) ** (1 / horizontal.shape[1])
    covered = len(covering_centers(horizontal, side)) * side ** horizontal.shape[1]
    keep = np.random.default_rng(0).random(len(cloud)) < density * covered / len(cloud)
    return cloud[keep]


def on_relief(cloud: PointCloud, number: int) -> PointCloud:
    """The cloud on other ground: hills, banks, cuttings and steps are added to the heights of all points.

        z' = z + h(x, y)

    What stands on the ground keeps its shape up to the slope beneath it. A network that has seen a tile on several such
    reliefs takes an embankment for ground although its own tile has none.

    Args:
        cloud: x, y and height in metres.
        number: of the relief; every number is another one, always the same.

    Raises:
        ValueError: the cloud has not three coordinates.

    Example:
        >>> flat = PointCloud(np.random.default_rng(0).random((1_000, 3)) * [500, 500, 0])
        >>> heights = on_relief(flat, 1).positions[:, 2]
        >>> bool(np.ptp(heights) > 5), bool((on_relief(flat, 1).positions[:, 2] == heights).all())
        (True, True)
    """
    if cloud.dim != 3:
        raise ValueError(f"relief: x, y and height are needed, the cloud has {cloud.dim} coordinates")
    if len(cloud) == 0:
        return cloud
    positions = cloud.positions.copy()
    positions[:, 2] += _relief(positions[:, :2] - positions[:, :2].min(axis=0), np.random.default_rng(number))
    return replace(cloud, positions=positions)


def _relief(horizontal: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Heights [N] at places [N, 2] that begin at 0."""
    heights = np.zeros(len(horizontal))
    for wavelength, slope in _HILLS:
        for _ in range(_HILLS_OF_A_KIND):
            heading, phase = rng.uniform(0, 2 * np.pi, 2)
            wave_number = 2 * np.pi / (wavelength * rng.uniform(0.7, 1.4))
            along = horizontal @ [np.cos(heading), np.sin(heading)]
            heights += rng.uniform(0, slope) / wave_number * np.sin(wave_number * along + phase)
    size = float(horizontal.max())
    for _ in range(math.ceil(_BANKS_PER_KILOMETRE * size / 1000)):
        heights += _bank(horizontal - rng.uniform(0, size, 2), rng)
    return heights


def _bank(horizontal: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A bank (twice as often as a cutting) or a step along a slightly bent line through the origin."""
    heading, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1) / 800
    along = horizontal @ [np.cos(heading), np.sin(heading)]
    across = horizontal @ [-np.sin(heading), np.cos(heading)] + bend * along**2
    rise = rng.uniform(1.5, 7) * rng.choice([-1, 1, 1])
    half_width, run = rng.uniform(2, 25), abs(rise) * rng.uniform(1, 2.5)
    is_step = rng.random() < 0.3
    up = across / run if is_step else (half_width + run - np.abs(across)) / run
    raised: NDArray[np.float64] = rise * np.clip(up, 0, 1)
    return raised

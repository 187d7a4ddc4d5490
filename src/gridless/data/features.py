"""Features computed from a whole cloud, by name; each is a function of the cloud and a few numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from gridless.cloud import PointCloud
from gridless.data.shapes import local_shape
from gridless.data.whole import WholeCloud

FeatureFunction = Callable[..., NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class ComputedFeature:
    """A feature function and what it looks at; see :func:`computed_feature`."""

    function: FeatureFunction
    columns: tuple[str, ...]
    reach: str

    def __call__(self, cloud: PointCloud, whole: WholeCloud | None = None, **options: float) -> NDArray[Any]:
        """Values [N] on ``cloud``, a part of ``whole`` (by default all of it)."""
        if "whole" in inspect.signature(self.function).parameters:
            return self.function(cloud, whole=WholeCloud.of(cloud) if whole is None else whole, **options)
        return self.function(cloud, **options)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that it takes."""
        return tuple(name for name in self._parameters() if name != "whole")

    def distance(self, options: dict[str, float], crop_radius: float) -> float:
        """How far from a point it looks; infinite if it needs the whole cloud."""
        named = {"point": 0.0, "neighbors": crop_radius, "whole": np.inf}
        if self.reach in named:
            return named[self.reach]
        return float(options.get(self.reach, self._parameters()[self.reach].default))

    def neighbors(self, options: dict[str, float]) -> int | None:
        """How many nearest points it looks at, where that is its option ``k``."""
        parameters = self._parameters()
        return int(options.get("k", parameters["k"].default)) if "k" in parameters else None

    def _parameters(self) -> dict[str, inspect.Parameter]:
        return dict(list(inspect.signature(self.function).parameters.items())[1:])


COMPUTED_FEATURES: dict[str, ComputedFeature] = {}


@overload
def computed_feature(function: FeatureFunction, /) -> FeatureFunction: ...
@overload
def computed_feature(
    *, columns: tuple[str, ...] = (), reach: str = "whole"
) -> Callable[[FeatureFunction], FeatureFunction]: ...
def computed_feature(
    function: FeatureFunction | None = None, /, *, columns: tuple[str, ...] = (), reach: str = "whole"
) -> Any:
    """Register ``function(cloud, **options) -> [N]`` under its own name, for recipes to name it.

    Clouds larger than memory are worked on in parts, which a feature has to allow by saying how far it looks.

    Args:
        function: a parameter named ``whole`` is given the :class:`WholeCloud` that the cloud is a part of.
        columns: those it reads, besides the positions.
        reach: how far it looks from each point: "point" not at all, the name of the option that is a distance,
            "neighbors" its nearest points, "whole" everywhere.

    Example:
        >>> @computed_feature
        ... def distance_from_center(cloud):
        ...     return np.linalg.norm(cloud.positions - cloud.center(), axis=1)
        >>> COMPUTED_FEATURES.pop("distance_from_center")(PointCloud(np.eye(2))).tolist()
        [0.7071067811865476, 0.7071067811865476]
    """

    def register(function: FeatureFunction) -> FeatureFunction:
        COMPUTED_FEATURES[function.__name__] = ComputedFeature(function, columns, reach)
        return function

    return register if function is None else register(function)


@computed_feature(reach="point")
def constant(cloud: PointCloud) -> NDArray[np.float64]:
    """One for every point: for networks that see geometry only."""
    return np.ones(len(cloud))


@computed_feature(reach="point")
def height(cloud: PointCloud, whole: WholeCloud) -> NDArray[np.float64]:
    """Last coordinate; crops subtract their own mean, so that only differences within a crop reach the network."""
    return cloud.positions[:, -1] - whole.center()[-1]


@computed_feature(reach="point")
def height_above_ground(
    cloud: PointCloud,
    whole: WholeCloud,
    cell: float = 1.0,
    window: float = 33.0,
    slope: float = 0.3,
    tolerance: float = 0.3,
) -> NDArray[np.float64]:
    """Height above a ground surface found by a progressive morphological filter on the raster of lowest points.

    The raster is opened with growing windows; a cell that an opening lowers by more than tolerance + slope · (growth of
    half the window) is not ground (a roof or a crown) and is refilled from the ground cells around it.

    Args:
        cloud: points, the last coordinate up.
        whole: what the cloud is a part of; the ground is found once, on all of it.
        cell: side of a raster cell in the cloud's unit (metres).
        window: largest window; buildings up to this width are taken off the ground.
        slope: steepest ground, rise over run.
        tolerance: roughness of the ground.

    Source: Zhang et al., "A progressive morphological filter for removing nonground measurements from airborne LIDAR
    data", IEEE TGRS 41(4), 2003.
    """
    if len(cloud) == 0:
        return np.zeros(0)
    key = ("ground", cell, window, slope, tolerance)
    if key not in whole.surfaces:
        whole.surfaces[key] = _ground(whole.lowest_per_cell(cell), cell, window, slope, tolerance)
    raster = whole.in_cells(cloud, cell)
    below = ndimage.map_coordinates(whole.surfaces[key], raster.T - 0.5, order=1, mode="nearest")
    return cloud.positions[:, -1] - below


@computed_feature(reach="point")
def height_above_lowest(
    cloud: PointCloud, whole: WholeCloud, window: float = 5.0, cell: float = 1.0
) -> NDArray[np.float64]:
    """Height above the lowest point in the column of width ``window`` around each point's raster cell."""
    if len(cloud) == 0:
        return np.zeros(0)
    key = ("floor", cell, window)
    if key not in whole.surfaces:
        lowest = whole.lowest_per_cell(cell)
        whole.surfaces[key] = ndimage.minimum_filter(lowest, size=max(1, round(window / cell)), mode="nearest")
    floor = whole.surfaces[key]
    cells = np.minimum(whole.in_cells(cloud, cell).astype(np.int64), np.array(floor.shape) - 1)
    return cloud.positions[:, -1] - floor[tuple(cells.T)]


@computed_feature(reach="radius")
def local_density(cloud: PointCloud, whole: WholeCloud, radius: float = 1.0) -> NDArray[np.float64]:
    """log(1 + number of other points within ``radius``)."""
    tree = cKDTree(cloud.local_positions(whole.center()))
    return np.log(tree.query_ball_point(tree.data, radius, return_length=True, workers=-1).astype(np.float64))


@computed_feature(columns=("return_number", "number_of_returns"), reach="point")
def return_ratio(cloud: PointCloud) -> NDArray[np.float64]:
    """return_number / number_of_returns: 1 for the last echo of a pulse, small for echoes high in a crown."""
    for name in ("return_number", "number_of_returns"):
        if name not in cloud:
            raise ValueError(f"return_ratio: no column {name!r}; this cloud has {', '.join(cloud.columns) or 'none'}")
    return np.asarray(cloud["return_number"] / np.maximum(cloud["number_of_returns"], 1))


@computed_feature(reach="neighbors")
def linearity(cloud: PointCloud, whole: WholeCloud, k: int = 24) -> NDArray[np.float64]:
    """(s1 - s2) / s1 of the standard deviations s1 >= s2 >= s3 of the k nearest points: 1 on wires and edges."""
    deviations = local_shape(cloud, whole, int(k)).deviations
    return (deviations[:, 2] - deviations[:, 1]) / deviations[:, 2]


@computed_feature(reach="neighbors")
def planarity(cloud: PointCloud, whole: WholeCloud, k: int = 24) -> NDArray[np.float64]:
    """(s2 - s3) / s1 of the standard deviations of the k nearest points: 1 on roofs, ground and walls."""
    deviations = local_shape(cloud, whole, int(k)).deviations
    return (deviations[:, 1] - deviations[:, 0]) / deviations[:, 2]


@computed_feature(reach="neighbors")
def scattering(cloud: PointCloud, whole: WholeCloud, k: int = 24) -> NDArray[np.float64]:
    """s3 / s1 of the standard deviations of the k nearest points: large in leaves."""
    deviations = local_shape(cloud, whole, int(k)).deviations
    return deviations[:, 0] / deviations[:, 2]


@computed_feature(reach="neighbors")
def verticality(cloud: PointCloud, whole: WholeCloud, k: int = 24) -> NDArray[np.float64]:
    """1 - |vertical part of the normal| over the k nearest points: 0 on flat ground, 1 on walls."""
    return 1.0 - np.abs(local_shape(cloud, whole, int(k)).normals[:, -1])


def _ground(
    lowest: NDArray[np.float64], cell: float, window: float, slope: float, tolerance: float
) -> NDArray[np.float64]:
    """The surface of the ground on the raster of lowest points; see :func:`height_above_ground`."""
    surface = _filled(lowest, np.isfinite(lowest))
    # Single returns from below the ground would drag their surroundings down.
    surface = np.maximum(surface, ndimage.grey_closing(surface, size=(3,) * surface.ndim, mode="nearest") - tolerance)
    is_ground = np.isfinite(lowest)
    previous, size = 1, 3
    opened = surface
    while size * cell <= window:
        smaller = ndimage.grey_opening(opened, size=(size,) * surface.ndim, mode="nearest")
        is_ground &= opened - smaller <= tolerance + slope * (size - previous) * cell / 2
        opened = smaller
        previous, size = size, 2 * size - 1
    filled = _filled(np.where(is_ground, surface, opened), is_ground)
    ground: NDArray[np.float64] = ndimage.gaussian_filter(filled, 1.0, mode="nearest")
    return ground


def _filled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``values`` with every unknown cell taken from the nearest known one."""
    if known.all() or not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]

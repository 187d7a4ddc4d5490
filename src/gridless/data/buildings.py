"""Buildings set into a labelled cloud, for training clouds that have few or only of a kind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap

_PER_SQUARE_KILOMETRE = 60
_ROUGHNESS = 0.03  # of a roof, in metres


def with_buildings(cloud: PointCloud, number: int, labels: LabelMap) -> PointCloud:
    """The cloud with more buildings: in random rectangles first echoes become roofs, and later ones go.

    From houses to halls, they are 8 to 90 m wide, up to three times as long and 3 to 18 m high, wide ones sometimes
    around a yard; together they cover about a tenth of the ground. Roofs are flat, tilted, or have one or more gables.
    A network that has seen them takes wide roofs, and houses among trees, for buildings although its tiles have few.

    Args:
        cloud: x, y and height in metres, with labels; sparse, since nothing but roofs is made (no walls).
        number: of the arrangement; every number is another one, always the same.
        labels: with the classes "ground", which buildings stand on, and "building".

    Raises:
        ValueError: the cloud has not three coordinates or no labels, labels without a mapping, or no class "ground" or
            "building".

    Example:
        >>> positions = np.random.default_rng(0).random((20_000, 3)) * [300, 300, 0]
        >>> field = PointCloud(positions, {"classification": np.full(20_000, 2)})
        >>> village = with_buildings(field, 1, LabelMap({"ground": [2], "building": [6]}))
        >>> roofs = village["classification"] == 6
        >>> bool(0 < roofs.mean() < 0.5), bool(village.positions[roofs, 2].min() > 2)
        (True, True)
    """
    if cloud.dim != 3:
        raise ValueError(f"buildings: x, y and height are needed, the cloud has {cloud.dim} coordinates")
    missing = {"ground", "building"} - set(labels.classes)
    if missing:
        raise ValueError(
            f"buildings: no class {' and no class '.join(sorted(missing))} among {', '.join(labels.names)}"
        )
    if len(cloud) == 0:
        return cloud
    classes = labels.of_cloud(cloud, "buildings")
    rng = np.random.default_rng(number)
    heights, raw_labels = cloud.positions[:, 2].copy(), cloud[labels.column].copy()
    is_ground = classes == labels.names.index("ground")
    is_first = cloud["return_number"] <= 1 if "return_number" in cloud else np.ones(len(cloud), bool)
    horizontal = cloud.positions[:, :2] - cloud.positions[:, :2].min(axis=0)
    extent = horizontal.max(axis=0)
    building_of = np.full(len(cloud), -1)
    for building in range(math.ceil(_PER_SQUARE_KILOMETRE * np.prod(extent / 1000))):
        inside, roof = _building(horizontal - rng.uniform(0, extent), rng)
        ground = inside & is_ground
        if ground.any():
            heights[inside] = np.median(cloud.positions[ground, 2]) + roof[inside]
            building_of[inside] = building
    roofs = building_of >= 0
    heights[roofs] += rng.normal(0, _ROUGHNESS, roofs.sum())
    raw_labels[roofs] = labels.classes["building"][0]
    changed = replace(cloud, positions=np.column_stack([cloud.positions[:, :2], heights]))
    changed = changed.with_columns(**{labels.column: raw_labels}, **_echoes(cloud, building_of, rng))
    return changed[is_first | ~roofs]


def _building(
    horizontal: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which places [N, 2] a building around the origin covers, and the height of its roof there, above the ground."""
    width = np.exp(rng.uniform(np.log(8), np.log(90)))
    length, eaves, heading = width * rng.uniform(1, 3), rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    along = horizontal @ [np.cos(heading), np.sin(heading)] / length  # -1/2 to 1/2 inside
    across = horizontal @ [-np.sin(heading), np.cos(heading)] / width
    inside = (np.abs(along) < 0.5) & (np.abs(across) < 0.5)
    if width > 35 and rng.random() < 0.3:
        yard = rng.uniform(0.1, 0.3)  # half of its share of either side
        inside &= (np.abs(along) > yard) | (np.abs(across) > yard)
    rise = min(rng.uniform(0.03, 0.4) * width, 6.0)
    match rng.choice(["flat", "tilted", "gabled"], p=[0.5, 0.15, 0.35]):
        case "flat":
            shape = np.zeros(len(horizontal))
        case "tilted":
            shape = across + 0.5
        case _:
            shape = 1 - np.abs(2 * ((across + 0.5) * rng.integers(1, 4) % 1) - 1)
    return inside, eaves + rise * shape


def _echoes(cloud: PointCloud, building_of: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The echoes' columns with single echoes on roofs, each building as bright as some point of the cloud."""
    roofs = building_of >= 0
    columns = {
        name: cloud[name].copy() for name in ("return_number", "number_of_returns", "intensity") if name in cloud
    }
    for name in columns.keys() & {"return_number", "number_of_returns"}:
        columns[name][roofs] = 1
    if "intensity" in columns:
        intensity = columns["intensity"]
        of_building = rng.choice(intensity, building_of.max() + 1) if roofs.any() else intensity[:0]
        drawn = of_building[building_of[roofs]] * rng.normal(1, 0.15, roofs.sum())
        intensity[roofs] = np.clip(drawn, intensity.min(), intensity.max()).astype(intensity.dtype)
    return columns

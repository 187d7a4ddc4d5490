"""Buildings, trees, cars, poles and wires as shapes; every builder takes a foot point [3] on the ground."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from gridless.data.simulation.shapes import (
    Cylinder,
    Floats,
    Foliage,
    Mesh,
    Shape,
    box_polygons,
    placed,
    polygons_to_triangles,
)

LOW_VEGETATION = 3
HIGH_VEGETATION = 5
BUILDING = 6
WIRE = 14
POLE = 15
VEHICLE = 64  # first of the classes that ASPRS leaves to the user

CELLAR = 3.0  # walls reach below the ground so that none floats on a slope


def raised(point: ArrayLike, height: float) -> Floats:
    """The point [3] that lies ``height`` metres above ``point``."""
    return np.asarray(point, dtype=np.float64) + np.array([0.0, 0.0, height])


def building(
    foot: ArrayLike, length: float, width: float, wall: float, roof: str, heading: float, rng: np.random.Generator
) -> list[Shape]:
    """Walls, a ``flat``, ``gable`` or ``hip`` roof with eaves, and a chimney or a box of machines on top."""
    a, b = length / 2, width / 2
    walls = polygons_to_triangles(box_polygons((-a, -b, -CELLAR), (a, b, wall)))
    pitch = rng.uniform(0.5, 0.9)
    rise = 0.0 if roof == "flat" else pitch * b
    if roof == "flat":
        parapet = [box_polygons(low, high) for low, high in (
            ((-a, -b, wall), (a, 0.3 - b, wall + 0.5)), ((-a, b - 0.3, wall), (a, b, wall + 0.5)),
            ((-a, -b, wall), (0.3 - a, b, wall + 0.5)), ((a - 0.3, -b, wall), (a, b, wall + 0.5)),
        )]  # fmt: skip
        cover = [polygon for box in parapet for polygon in box]
    else:
        eaves = 0.5
        x, y, low, top = a + eaves, b + eaves, wall - pitch * eaves, wall + rise
        ridge = x if roof == "gable" else a - b
        cover = [
            [(-x, -y, low), (x, -y, low), (ridge, 0, top), (-ridge, 0, top)],
            [(x, y, low), (-x, y, low), (-ridge, 0, top), (ridge, 0, top)],
        ]
        end = a if roof == "gable" else x
        for side in (-1, 1):
            foot_of_end = (b, wall) if roof == "gable" else (y, low)
            tip = (side * (a if roof == "gable" else ridge), 0, top)
            cover.append([(side * end, -foot_of_end[0], foot_of_end[1]), (side * end, *foot_of_end), tip])
    at = rng.uniform(-0.5, 0.5) * a
    half = 0.35 if rise else 1.0
    crest = wall + (rise + 0.8 if rise else 1.6)
    top_box = polygons_to_triangles(box_polygons((at - half, -half, wall), (at + half, half, crest)))
    reflectivity = rng.uniform(0.2, 0.5)
    # A mesh's outline is all that culls its rays, so walls, roof and top stay one mesh each.
    return [
        Mesh(placed(walls, foot, heading), BUILDING, 0.5),
        Mesh(placed(polygons_to_triangles(cover), foot, heading), BUILDING, reflectivity),
        Mesh(placed(top_box, foot, heading), BUILDING, 0.3),
    ]


def broadleaf(foot: ArrayLike, height: float, radius: float, rng: np.random.Generator) -> list[Shape]:
    """A trunk under a rounded crown of overlapping leaf clusters."""
    foot = np.asarray(foot, dtype=np.float64)
    crown_low = height * rng.uniform(0.25, 0.4)
    half = (height - crown_low) / 2
    shapes: list[Shape] = [_trunk(foot, crown_low + half, 0.02 * height)]
    for _ in range(14):
        offset = rng.normal(size=3)
        offset *= rng.uniform(0.35, 0.7) / np.linalg.norm(offset)
        center = foot + np.array([0, 0, crown_low + half]) + offset * np.array([radius, radius, half])
        radii = rng.uniform(0.3, 0.5, 3) * np.array([radius, radius, half])
        shapes.append(Foliage(center, radii, rng.uniform(0.35, 0.8), HIGH_VEGETATION, 0.45))
    return shapes


def conifer(foot: ArrayLike, height: float, radius: float, rng: np.random.Generator) -> list[Shape]:
    """A trunk with whorls that narrow towards the top."""
    foot = np.asarray(foot, dtype=np.float64)
    shapes: list[Shape] = [_trunk(foot, height * 0.9, 0.015 * height)]
    for share in np.linspace(0.15, 0.95, 8):
        wide = radius * (1.05 - share)
        center = foot + np.array([*rng.normal(0, 0.1, 2), share * height])
        shapes.append(
            Foliage(center, np.array([wide, wide, height * 0.08]), rng.uniform(0.6, 1.2), HIGH_VEGETATION, 0.35)
        )
    return shapes


def _trunk(foot: Floats, height: float, radius: float) -> Cylinder:
    return Cylinder(raised(foot, -0.5), raised(foot, height), radius, HIGH_VEGETATION, 0.3)


def bush(foot: ArrayLike, radius: float, height: float) -> Foliage:
    """A dense round bush; hedges are rows of them."""
    center = raised(foot, height * 0.45)
    return Foliage(center, np.array([radius, radius, height * 0.55]), 2.5, LOW_VEGETATION, 0.5)


def car(foot: ArrayLike, heading: float, rng: np.random.Generator) -> Mesh:
    """A body and a cabin on it, 4 to 5 m long, sometimes as tall as a van."""
    length, width, tall = rng.uniform(4.0, 5.0), rng.uniform(1.7, 1.95), rng.uniform(1.4, 2.1)
    a, b = length / 2, width / 2
    body = box_polygons((-a, -b, 0.2), (a, b, 0.85))
    cabin = box_polygons((-0.75 * a, 0.1 - b, 0.85), (0.4 * a, b - 0.1, tall))
    return Mesh(placed(polygons_to_triangles([*body, *cabin]), foot, heading), VEHICLE, rng.uniform(0.2, 0.7))


def power_pole(foot: ArrayLike, height: float, heading: float) -> list[Shape]:
    """A pole with two cross-arms at right angles to the line's ``heading``."""
    foot = np.asarray(foot, dtype=np.float64)
    shapes: list[Shape] = [Cylinder(raised(foot, -0.5), raised(foot, height), 0.22, POLE, 0.4)]
    for below in (0.3, 1.7):
        arm = placed(polygons_to_triangles(box_polygons((-0.15, -1.6, -0.15), (0.15, 1.6, 0.15))), (0, 0, 0), heading)
        shapes.append(Mesh(arm + raised(foot, height - below), POLE, 0.4))
    return shapes


def street_light(foot: ArrayLike, height: float, towards: ArrayLike) -> list[Shape]:
    """A mast with an arm of 1.5 m in the horizontal direction ``towards`` [2]."""
    foot = np.asarray(foot, dtype=np.float64)
    top = raised(foot, height)
    arm = raised(top, 0.2) + np.append(1.5 * np.asarray(towards), 0.0)
    return [Cylinder(raised(foot, -0.5), top, 0.15, POLE, 0.5), Cylinder(top, arm, 0.1, POLE, 0.5)]


def conductor(start: ArrayLike, end: ArrayLike, sag: float, radius: float = 0.02, pieces: int = 12) -> list[Shape]:
    """A hanging wire: z = chord + c (cosh((s - 1/2) / w) - cosh(1 / 2w)), with c such that the middle hangs ``sag``."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    share = np.linspace(0, 1, pieces + 1)
    points = start + share[:, None] * (end - start)
    span = float(np.hypot(*(end - start)[:2]))
    parameter = span / (8 * sag)  # catenary constant over the span, exact in the limit of a shallow sag
    drop = np.cosh((share - 0.5) / parameter) - np.cosh(0.5 / parameter)
    points[:, 2] += sag * drop / -drop.min()
    return [Cylinder(p, q, radius, WIRE, 0.5) for p, q in pairwise(points)]

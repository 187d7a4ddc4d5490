"""Solids and porous volumes that a ray can hit, each with its label and reflectivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Hits(NamedTuple):
    """Where each ray meets a shape: distance along the ray [M] (infinite for a miss), cosine of incidence [M]."""

    distance: Floats
    cosine: Floats


class Shape(Protocol):
    """What the scanner needs of a shape."""

    @property
    def label(self) -> int: ...

    @property
    def reflectivity(self) -> float: ...

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner [3] of the axis-aligned box around the shape."""
        ...

    def intersect(self, origins: Floats, directions: Floats, rng: np.random.Generator) -> Hits:
        """First hit of each ray; origins [M, 3] in metres, unit directions [M, 3]."""
        ...


@dataclass(frozen=True, eq=False)
class Mesh:
    """Opaque triangles [T, 3, 3], seen from both sides."""

    triangles: Floats
    label: int
    reflectivity: float

    def bounds(self) -> tuple[Floats, Floats]:
        corners = self.triangles.reshape(-1, 3)
        return corners.min(axis=0), corners.max(axis=0)

    def intersect(self, origins: Floats, directions: Floats, rng: np.random.Generator) -> Hits:
        """Ray-triangle test in barycentric coordinates (Möller and Trumbore, 1997)."""
        distance = np.full(len(origins), np.inf)
        cosine = np.ones(len(origins))
        for corner, second, third in self.triangles:
            edge_u, edge_v = second - corner, third - corner
            normal = np.cross(edge_u, edge_v)
            facing = directions @ normal
            # Rays in the triangle's plane have no single hit: a zero is replaced so that the test below rejects them.
            determinant = np.where(np.abs(facing) < 1e-12, np.nan, -facing)
            offset = origins - corner
            moment = np.cross(offset, directions)
            u = (moment @ edge_v) / determinant
            v = -(moment @ edge_u) / determinant
            t = (offset @ normal) / determinant
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < distance)
            distance[hit] = t[hit]
            cosine[hit] = np.abs(facing[hit]) / np.linalg.norm(normal)
        return Hits(distance, cosine)


@dataclass(frozen=True, eq=False)
class Cylinder:
    """Opaque round bar of a given radius between two points [3], without end caps."""

    start: Floats
    end: Floats
    radius: float
    label: int
    reflectivity: float

    def bounds(self) -> tuple[Floats, Floats]:
        return np.minimum(self.start, self.end) - self.radius, np.maximum(self.start, self.end) + self.radius

    def intersect(self, origins: Floats, directions: Floats, rng: np.random.Generator) -> Hits:
        axis = self.end - self.start
        length = np.linalg.norm(axis)
        axis = axis / length
        offset = origins - self.start
        across_direction = directions - np.outer(directions @ axis, axis)
        across_offset = offset - np.outer(offset @ axis, axis)
        a = np.maximum((across_direction**2).sum(axis=1), 1e-15)
        middle = -(across_offset * across_direction).sum(axis=1) / a  # distance of closest approach to the axis
        nearest = across_offset + middle[:, None] * across_direction
        inside = self.radius**2 - (nearest**2).sum(axis=1)
        t = middle - np.sqrt(np.maximum(inside, 0) / a)
        along = (offset + t[:, None] * directions) @ axis
        hit = (inside > 0) & (t > 0) & (along >= 0) & (along <= length)
        normal = (across_offset + t[:, None] * across_direction) / self.radius
        cosine = np.abs((normal * directions).sum(axis=1))
        return Hits(np.where(hit, t, np.inf), np.clip(cosine, 0, 1))


@dataclass(frozen=True, eq=False)
class Foliage:
    """Porous ellipsoid: a ray inside meets a leaf after an exponential free path (Beer-Lambert law).

    P(no leaf within s metres) = exp(-extinction * s).
    """

    center: Floats
    radii: Floats
    extinction: float
    label: int
    reflectivity: float

    def bounds(self) -> tuple[Floats, Floats]:
        return self.center - self.radii, self.center + self.radii

    def intersect(self, origins: Floats, directions: Floats, rng: np.random.Generator) -> Hits:
        offset, direction = (origins - self.center) / self.radii, directions / self.radii
        a = (direction**2).sum(axis=1)
        middle = -(offset * direction).sum(axis=1) / a
        nearest = offset + middle[:, None] * direction
        half = np.sqrt(np.maximum(1 - (nearest**2).sum(axis=1), 0) / a)
        entry = np.maximum(middle - half, 0)
        t = entry + rng.exponential(1 / self.extinction, len(origins))
        # Leaves hang at every angle: the cosine of a uniformly turned leaf is uniform.
        cosine = rng.uniform(0.15, 1.0, len(origins))
        return Hits(np.where(t < middle + half, t, np.inf), cosine)


def polygons_to_triangles(polygons: list[ArrayLike]) -> Floats:
    """Convex planar polygons, each [K, 3], as fans of triangles [T, 3, 3]."""
    fans = []
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64)
        fans += [np.stack([corners[0], corners[k], corners[k + 1]]) for k in range(1, len(corners) - 1)]
    return np.stack(fans)


def box_polygons(lower: ArrayLike, upper: ArrayLike) -> list[ArrayLike]:
    """Top and four sides of an upright box; the underside is never seen from the air."""
    (x0, y0, z0), (x1, y1, z1) = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    sides: list[ArrayLike] = [
        [(*p, z0), (*q, z0), (*q, z1), (*p, z1)] for p, q in zip(ring, [*ring[1:], ring[0]], strict=True)
    ]
    return [*sides, [(*p, z1) for p in ring]]


def placed(triangles: Floats, position: ArrayLike, heading: float) -> Floats:
    """Triangles turned about z by ``heading`` radians, then moved to ``position`` [3]."""
    c, s = np.cos(heading), np.sin(heading)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return triangles @ turn.T + np.asarray(position, dtype=np.float64)

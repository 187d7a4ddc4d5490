"""Smooth ground: a sum of plane waves over several octaves, a slope, and a road on an embankment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridless.data.simulation.shapes import Floats, Hits

GRASS_REFLECTIVITY = 0.45
ASPHALT_REFLECTIVITY = 0.15


@dataclass(frozen=True, eq=False)
class Terrain:
    """h(x, y) = base + slope . (x, y) + sum_k a_k sin(k . (x, y) + phase_k) + embankment(distance to the road axis).

    Args:
        base: height in metres at the origin.
        slope: [2] rise per metre.
        waves: [K, 4] rows of wave vector x, y (rad/m), phase (rad) and amplitude (m).
        road: x of the axis at y = 0, its drift dx/dy, half width (m), embankment height (m).
    """

    base: float
    slope: Floats
    waves: Floats
    road: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def road_distance(self, x: Floats, y: Floats) -> Floats:
        """Horizontal distance in metres to the road's axis."""
        start, drift, _, _ = self.road
        return np.abs(x - start - drift * y) / np.hypot(1.0, drift)

    def height(self, x: Floats, y: Floats) -> Floats:
        """Height in metres at x, y (any equal shapes)."""
        total = self.base + self.slope[0] * x + self.slope[1] * y
        for wave_x, wave_y, phase, amplitude in self.waves:
            total = total + amplitude * np.sin(wave_x * x + wave_y * y + phase)
        _, _, half_width, rise = self.road
        if rise:
            ramp = np.clip((self.road_distance(x, y) - half_width) / (3.0 * rise), 0, 1)
            total = total + rise * (1 - ramp * ramp * (3 - 2 * ramp))
        return total

    def reflectivity(self, x: Floats, y: Floats) -> Floats:
        """Share of the light sent back: asphalt on the road, grass elsewhere."""
        return np.where(self.road_distance(x, y) < self.road[2], ASPHALT_REFLECTIVITY, GRASS_REFLECTIVITY)

    def intersect(self, origins: Floats, directions: Floats, steps: int = 8, refinements: int = 8) -> Hits:
        """First hit of each downward ray: march between the lowest and highest ground below it, then secants."""
        relief = np.abs(self.waves[:, 3]).sum() + abs(self.road[3]) + 0.1
        # A ray's mean plane is tilted by the slope: reach for the plane's hit, then search relief to both sides.
        tilt = directions[:, 2] - directions[:, :2] @ self.slope
        plane = self.base + origins[:, :2] @ self.slope - origins[:, 2]
        first, last = (plane + relief) / tilt, (plane - relief) / tilt
        above, below = first.copy(), last.copy()
        gap_above, gap_below = self._gap(origins, directions, above), self._gap(origins, directions, below)
        found = np.zeros(len(origins), dtype=bool)
        for step in range(1, steps):
            t = first + (last - first) * step / steps
            gap = self._gap(origins, directions, t)
            ahead = ~found & (gap > 0)
            above[ahead], gap_above[ahead] = t[ahead], gap[ahead]
            meets = ~found & (gap <= 0)
            below[meets], gap_below[meets] = t[meets], gap[meets]
            found |= meets
        side = np.zeros(len(origins), dtype=np.int8)
        for _ in range(refinements):
            t = above + (below - above) * gap_above / (gap_above - gap_below)
            gap = self._gap(origins, directions, t)
            moved = np.where(gap > 0, 1, -1).astype(np.int8)
            # Illinois rule: an end that stays twice running has its gap halved, so that both ends close in.
            gap_below[(moved == 1) & (side == 1)] /= 2
            gap_above[(moved == -1) & (side == -1)] /= 2
            ahead = gap > 1e-12
            behind = gap < -1e-12
            above[ahead], gap_above[ahead] = t[ahead], gap[ahead]
            below[behind], gap_below[behind] = t[behind], gap[behind]
            met = ~(ahead | behind)  # on the ground already: the bracket closes there
            above[met] = below[met] = t[met]
            side = moved
        t = above + (below - above) * gap_above / (gap_above - gap_below)
        return Hits(t, self._cosine(origins + t[:, None] * directions, directions))

    def _gap(self, origins: Floats, directions: Floats, t: Floats) -> Floats:
        points = origins + t[:, None] * directions
        return points[:, 2] - self.height(points[:, 0], points[:, 1])

    def _cosine(self, points: Floats, directions: Floats, step: float = 0.05) -> Floats:
        x, y = points[:, 0], points[:, 1]
        here = self.height(x, y)
        normal = np.stack([here - self.height(x + step, y), here - self.height(x, y + step), np.full(len(x), step)], 1)
        return np.abs((normal * directions).sum(axis=1)) / np.linalg.norm(normal, axis=1)


def random_terrain(rng: np.random.Generator, size: tuple[float, float], base: float) -> Terrain:
    """Rolling ground of about 3 m relief with a road along y through the middle third of ``size`` (metres)."""
    rows: list[NDArray[np.float64]] = []
    for wavelength, amplitude in ((90.0, 0.9), (40.0, 0.3), (18.0, 0.1), (7.0, 0.03)):
        for _ in range(3):
            heading, phase = rng.uniform(0, 2 * np.pi, 2)
            number = 2 * np.pi / (wavelength * rng.uniform(0.8, 1.25))
            rows.append(np.array([number * np.cos(heading), number * np.sin(heading), phase, amplitude]))
    road = (size[0] * rng.uniform(0.4, 0.6), rng.uniform(-0.08, 0.08), 3.5, rng.uniform(0.3, 1.0))
    return Terrain(base, rng.uniform(-0.04, 0.04, 2), np.stack(rows), road)

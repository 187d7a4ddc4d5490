"""Layout of a small town block: what stands where, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gridless.data.simulation import objects
from gridless.data.simulation.shapes import Shape
from gridless.data.simulation.terrain import Terrain, random_terrain


@dataclass(frozen=True)
class SceneSettings:
    """How much stands in a scene; numbers are per hectare (10,000 m²), lengths in metres.

    Args:
        buildings, trees, bushes, hedges, cars: numbers tried per hectare (fewer where no free place is found).
        pole_spacing: distance between the poles of the power line along the road.
        ground_height: height of the terrain at the origin.
    """

    buildings: float = 28.0
    trees: float = 110.0
    bushes: float = 50.0
    hedges: float = 14.0
    cars: float = 25.0
    pole_spacing: float = 13.0
    ground_height: float = 100.0

    def __post_init__(self) -> None:
        for name in ("buildings", "trees", "bushes", "hedges", "cars"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"SceneSettings: {name} must be 0 or more, got {getattr(self, name)!r}")
        if not self.pole_spacing > 0:
            raise ValueError(f"SceneSettings: pole_spacing must be above 0, got {self.pole_spacing!r}")


@dataclass(frozen=True, eq=False)
class Scene:
    """Terrain and the shapes on it, in local coordinates from (0, 0) to ``size``."""

    size: tuple[float, float]
    terrain: Terrain
    shapes: list[Shape]


def build_scene(size: tuple[float, float], settings: SceneSettings, rng: np.random.Generator) -> Scene:
    """A road with parked cars, lights and a power line; houses, trees, bushes and hedges where there is room."""
    return _Layout(size, settings, rng).scene()


class _Layout:
    """Keeps what is taken while things are put down."""

    def __init__(self, size: tuple[float, float], settings: SceneSettings, rng: np.random.Generator) -> None:
        self.size, self.settings, self.rng = size, settings, rng
        self.terrain = random_terrain(rng, size, settings.ground_height)
        self.shapes: list[Shape] = []
        self.taken: list[tuple[float, float, float]] = []

    def scene(self) -> Scene:
        self._power_line()
        self._street()
        self._buildings()
        self._hedges()
        self._parked_cars()
        self._trees()
        for _ in range(self._number(self.settings.bushes)):
            radius = self.rng.uniform(0.5, 1.3)
            place = self._free_place(radius, radius)
            if place is not None:
                self.shapes.append(objects.bush(self._foot(*place), radius, self.rng.uniform(0.7, 1.6)))
        return Scene(self.size, self.terrain, self.shapes)

    def _number(self, per_hectare: float) -> int:
        return round(per_hectare * self.size[0] * self.size[1] / 1e4)

    def _foot(self, x: float, y: float) -> np.ndarray:
        return np.array([x, y, float(self.terrain.height(np.asarray(x), np.asarray(y)))])

    def _beside_road(self, y: float, offset: float) -> np.ndarray:
        start, drift, _, _ = self.terrain.road
        return self._foot(start + drift * y + offset, y)

    def _free_place(self, radius: float, road_gap: float, tries: int = 150) -> tuple[float, float] | None:
        """A place whose circle is inside the scene and touches neither another one nor the road; None if none."""
        for _ in range(tries):
            x, y = (float(self.rng.uniform(min(radius, side / 2), max(side - radius, side / 2))) for side in self.size)
            clear = self.terrain.road_distance(np.asarray(x), np.asarray(y)) > self.terrain.road[2] + 1.5 + road_gap
            if clear and all((x - u) ** 2 + (y - v) ** 2 > (radius + r) ** 2 for u, v, r in self.taken):
                self.taken.append((x, y, radius))
                return x, y
        return None

    def _power_line(self) -> None:
        spacing, half_width = self.settings.pole_spacing, self.terrain.road[2]
        heading = np.pi / 2 - np.arctan(self.terrain.road[1])
        across = np.array([-np.sin(heading), np.cos(heading), 0.0])
        height = self.rng.uniform(9.0, 11.0)
        # The line comes from outside the scene and leaves it, as the road does.
        feet = [
            self._beside_road(y, half_width + 2.5)
            for y in np.arange(-spacing * self.rng.uniform(0.2, 0.8), self.size[1] + spacing, spacing)
        ]
        for foot in feet:
            self.shapes += objects.power_pole(foot, height, heading)
            self.taken.append((foot[0], foot[1], 1.0))
        for here, there in pairwise(feet):
            for below, offset in ((0.15, -1.4), (0.15, 0.0), (0.15, 1.4), (1.55, -1.4), (1.55, 1.4)):
                lift = across * offset + [0, 0, height - below]
                self.shapes += objects.conductor(here + lift, there + lift, sag=0.3)

    def _street(self) -> None:
        half_width, drift = self.terrain.road[2], self.terrain.road[1]
        heading = np.pi / 2 - np.arctan(drift)
        for y in np.arange(self.rng.uniform(3, 10), self.size[1], 14.0):
            foot = self._beside_road(y, -half_width - 1.0)
            self.shapes += objects.street_light(foot, self.rng.uniform(6, 8), (1.0, 0.0))
            self.taken.append((foot[0], foot[1], 0.6))
        for side in (-1, 1):
            y = self.rng.uniform(3, 8)
            while y < self.size[1] - 3:
                foot = self._beside_road(y, side * (half_width - 1.2))
                self.shapes.append(objects.car(foot, heading + self.rng.normal(0, 0.03), self.rng))
                y += self.rng.uniform(7.0, 16.0)

    def _buildings(self) -> None:
        for index in range(self._number(self.settings.buildings)):
            length, width = self.rng.uniform(10, 16), self.rng.uniform(7, 10)
            wall, heading = self.rng.uniform(3.0, 7.5), self.rng.uniform(0, np.pi)
            angled = self.rng.uniform() < 0.3
            radius = np.hypot(length, width) / 2
            place = self._free_place(radius + (2.0 if angled else 0.5), radius)
            if place is None:
                continue
            roof = ("gable", "hip", "flat")[index % 3]
            foot = self._foot(*place)
            self.shapes += objects.building(foot, length, width, wall, roof, heading, self.rng)
            if angled:  # a wing at right angles from one end makes an L
                c, s = np.cos(heading), np.sin(heading)
                along, beside = length / 2 - width * 0.4, width * 0.45
                wing = foot + np.array([c * along - s * beside, s * along + c * beside, 0.0])
                turned = heading + np.pi / 2
                self.shapes += objects.building(wing, width * 1.1, width * 0.75, wall * 0.9, roof, turned, self.rng)

    def _hedges(self) -> None:
        for _ in range(self._number(self.settings.hedges)):
            length, height, heading = self.rng.uniform(5, 10), self.rng.uniform(1.0, 1.8), self.rng.uniform(0, np.pi)
            place = self._free_place(length / 2, 1.0 + length / 2)
            if place is None:
                continue
            for along in np.arange(-length / 2, length / 2, 0.5):
                x, y = place[0] + along * np.cos(heading), place[1] + along * np.sin(heading)
                self.shapes.append(objects.bush(self._foot(x, y), 0.6, height))

    def _parked_cars(self) -> None:
        for _ in range(self._number(self.settings.cars) // 2):
            place = self._free_place(2.6, 2.0)
            if place is not None:
                self.shapes.append(objects.car(self._foot(*place), self.rng.uniform(0, np.pi), self.rng))

    def _trees(self) -> None:
        for _ in range(self._number(self.settings.trees)):
            height = self.rng.uniform(6, 16)
            radius = height * self.rng.uniform(0.2, 0.3)
            place = self._free_place(radius * 0.8, radius)
            if place is not None:
                kind = objects.conifer if self.rng.uniform() < 0.3 else objects.broadleaf
                self.shapes += kind(self._foot(*place), height, radius, self.rng)

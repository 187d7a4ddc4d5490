"""An airborne laser scanner: strips, an oscillating mirror, beams with a footprint, echoes above a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gridless.cloud import PointCloud
from gridless.data.simulation.shapes import Floats, Shape
from gridless.data.simulation.terrain import Terrain

GROUND = 2
FIRST_GPS_TIME = 3.1e8  # adjusted standard GPS time, seconds
TURN_SECONDS = 180.0  # between two strips
LAS_ANGLE_UNIT = 0.006  # degrees


@dataclass(frozen=True)
class ScannerSettings:
    """How the scene is flown over; lengths in metres, angles in degrees unless named otherwise.

    Args:
        altitude: flying height above the scene's base height.
        half_angle: largest scan angle to either side, at most 40.
        overlap: share of a swath that its neighbor covers too, in [0, 0.9]; 0.5 means that two strips see each place.
        speed: metres per second along the strip.
        divergence: full opening of the beam in milliradians (0.5 mrad at 700 m lights a disk of 0.35 m).
        rays_per_pulse: sub-rays that share a pulse's energy.
        max_returns: echoes recorded per pulse.
        separation: least range between two echoes of a pulse.
        threshold: least energy of an echo; 1 is a whole pulse on a white surface at right angles from ``altitude``.
        range_noise: standard deviation of the range.
        pointing_noise: standard deviation of each of two pointing angles in milliradians.

    Raises:
        ValueError: a number outside of its range.
    """

    altitude: float = 700.0
    half_angle: float = 18.0
    overlap: float = 0.5
    speed: float = 60.0
    divergence: float = 0.5
    rays_per_pulse: int = 9
    max_returns: int = 5
    separation: float = 1.0
    threshold: float = 0.012
    range_noise: float = 0.02
    pointing_noise: float = 0.02

    def __post_init__(self) -> None:
        for name in ("altitude", "half_angle", "speed", "separation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ScannerSettings: {name} must be above 0, got {getattr(self, name)!r}")
        for name in ("divergence", "threshold", "range_noise", "pointing_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"ScannerSettings: {name} must be 0 or more, got {getattr(self, name)!r}")
        if self.half_angle > 40:
            raise ValueError(f"ScannerSettings: half_angle must be at most 40 degrees, got {self.half_angle!r}")
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"ScannerSettings: overlap must be in [0, 0.9], got {self.overlap!r}")
        if self.rays_per_pulse < 1 or self.max_returns < 1:
            raise ValueError(
                "ScannerSettings: rays_per_pulse and max_returns must be 1 or more, "
                f"got {self.rays_per_pulse!r} and {self.max_returns!r}"
            )


@dataclass(frozen=True, eq=False)
class Pulses:
    """P pulses: origin [P, 3], unit direction [P, 3], scan angle [P] in degrees, time [P] in s, strip [P]."""

    origins: Floats
    directions: Floats
    scan_angle: Floats
    time: Floats
    strip: NDArray[np.uint16]


def fly(
    size: tuple[float, float], base: float, density: float, settings: ScannerSettings, rng: np.random.Generator
) -> Pulses:
    """Pulses of parallel strips along y that light the area [0, size] at ``density`` pulses per m² in all."""
    half = np.radians(settings.half_angle)
    swath = 2 * settings.altitude * np.tan(half)
    spacing = swath * (1 - settings.overlap)
    strip_density = density * (1 - settings.overlap)
    rate = strip_density * settings.speed * swath
    lines_per_second = settings.speed * np.sqrt(strip_density)
    margin = 4.0
    first_x = rng.uniform(0, spacing)
    numbers = np.arange(
        np.ceil((-swath / 2 - margin - first_x) / spacing),
        np.floor((size[0] + swath / 2 + margin - first_x) / spacing) + 1,
    )
    parts = []
    for index, number in enumerate(numbers):
        x = first_x + number * spacing
        duration = (size[1] + 2 * margin) / settings.speed
        time = np.arange(int(duration * rate)) / rate
        phase = (time * lines_per_second / 2 + rng.uniform()) % 1
        angle = half * (4 * np.abs(phase - 0.5) - 1)
        ground_x = x + settings.altitude * np.tan(angle)
        seen = (ground_x > -margin) & (ground_x < size[0] + margin)
        time, angle = time[seen], angle[seen]
        forward = 1 if index % 2 == 0 else -1
        y = size[1] / 2 + forward * (settings.speed * time - size[1] / 2 - margin)
        origins = np.stack([np.full(len(y), x), y, np.full(len(y), base + settings.altitude)], axis=1)
        directions = np.stack([np.sin(angle), np.zeros(len(y)), -np.cos(angle)], axis=1)
        start = FIRST_GPS_TIME + index * (TURN_SECONDS + duration)
        strip = np.full(len(y), index + 1, dtype=np.uint16)
        # Scan angles are positive to the right of the flight, as LAS has them.
        parts.append((origins, directions, np.degrees(angle) * forward, start + time, strip))
    return Pulses(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def scan(
    terrain: Terrain,
    shapes: Sequence[Shape],
    pulses: Pulses,
    settings: ScannerSettings,
    rng: np.random.Generator,
) -> PointCloud:
    """Cast every pulse's sub-rays, keep the first surface on each, and record the echoes (label of what was hit)."""
    count, rays = len(pulses.origins), settings.rays_per_pulse
    directions = _sub_rays(pulses.directions, settings, rng).reshape(-1, 3)
    origins = np.repeat(pulses.origins, rays, axis=0)
    distance, cosine = terrain.intersect(origins, directions)
    ground = origins[:, :2] + distance[:, None] * directions[:, :2]
    label = np.full(len(origins), GROUND, dtype=np.uint8)
    reflectivity = terrain.reflectivity(ground[:, 0], ground[:, 1])

    base = float(pulses.origins[0, 2]) - settings.altitude if count else 0.0
    tangent = pulses.directions[:, :2] / -pulses.directions[:, 2:]
    landing = pulses.origins[:, :2] + tangent * (pulses.origins[:, 2:] - base)
    tree = cKDTree(landing)
    steepest = float(np.hypot(tangent[:, 0], tangent[:, 1]).max(initial=0)) + settings.divergence * 1e-3
    for shape in shapes:
        lower, upper = shape.bounds()
        reach = np.hypot(*(upper - lower)[:2]) / 2 + steepest * max(abs(upper[2] - base), abs(lower[2] - base)) + 1.0
        near = np.sort(np.asarray(tree.query_ball_point((lower + upper)[:2] / 2, reach), dtype=np.int64))
        if not len(near):
            continue
        near = near[_may_touch(pulses.origins[near], tangent[near], lower, upper)]
        index = (near[:, None] * rays + np.arange(rays)).ravel()
        hits = shape.intersect(origins[index], directions[index], rng)
        closer = hits.distance < distance[index]
        index = index[closer]
        distance[index], cosine[index] = hits.distance[closer], hits.cosine[closer]
        label[index], reflectivity[index] = shape.label, shape.reflectivity

    energy = reflectivity * cosine / rays * (settings.altitude / distance) ** 2
    return _record(
        pulses, distance.reshape(count, rays), energy.reshape(count, rays), label.reshape(count, rays), settings, rng
    )


def _sub_rays(directions: Floats, settings: ScannerSettings, rng: np.random.Generator) -> Floats:
    """Directions [P, R, 3] spread evenly over the beam's disk, turned at random from pulse to pulse."""
    rays = settings.rays_per_pulse
    radius = np.sqrt((np.arange(rays) + 0.5) / rays) * settings.divergence * 1e-3 / 2
    golden_angle = np.pi * (3 - np.sqrt(5))
    turn = np.arange(rays) * golden_angle + rng.uniform(0, 2 * np.pi, (len(directions), 1))
    return _tilted(directions[:, None, :], radius * np.cos(turn), radius * np.sin(turn))


def _tilted(directions: Floats, across: Floats, along: Floats) -> Floats:
    """Unit directions tilted by small angles in the scan plane and along y."""
    zeros = np.zeros_like(directions[..., 0])
    side = np.stack([-directions[..., 2], zeros, directions[..., 0]], axis=-1)
    result = directions + across[..., None] * side + along[..., None] * np.array([0.0, 1.0, 0.0])
    return result / np.linalg.norm(result, axis=-1, keepdims=True)


def _may_touch(origins: Floats, tangent: Floats, lower: Floats, upper: Floats) -> NDArray[np.bool_]:
    """Pulses whose path between the box's top and bottom passes over the box, footprint included."""
    high = origins[:, :2] + tangent * (origins[:, 2:] - upper[2])
    low = origins[:, :2] + tangent * (origins[:, 2:] - lower[2])
    footprint = 0.75
    inside = (np.maximum(high, low) > lower[:2] - footprint) & (np.minimum(high, low) < upper[:2] + footprint)
    return inside.all(axis=1)


def _record(
    pulses: Pulses,
    distance: Floats,
    energy: Floats,
    label: NDArray[np.uint8],
    settings: ScannerSettings,
    rng: np.random.Generator,
) -> PointCloud:
    """Group each pulse's hits by range into echoes: energy-weighted range, label of the strongest surface."""
    count, rays = distance.shape
    order = np.argsort(distance, axis=1, kind="stable")
    distance, energy = np.take_along_axis(distance, order, axis=1), np.take_along_axis(energy, order, axis=1)
    label = np.take_along_axis(label, order, axis=1)
    echo = np.zeros((count, rays), dtype=np.int64)
    start = distance[:, 0].copy()
    for ray in range(1, rays):
        opens = distance[:, ray] - start > settings.separation
        echo[:, ray] = echo[:, ray - 1] + opens
        start = np.where(opens, distance[:, ray], start)
    slot = (np.arange(count)[:, None] * rays + echo).ravel()
    total = np.bincount(slot, energy.ravel(), minlength=count * rays)
    ranged = np.bincount(slot, (energy * distance).ravel(), minlength=count * rays)
    by_label = {
        int(value): np.bincount(slot, np.where(label == value, energy, 0.0).ravel(), minlength=count * rays)
        for value in np.unique(label)
    }
    strongest = np.argmax(np.stack(list(by_label.values())), axis=0)
    detected = (total > settings.threshold).reshape(count, rays)
    detected &= np.cumsum(detected, axis=1) <= settings.max_returns
    returns = detected.sum(axis=1)
    pulse, _ = np.nonzero(detected)
    kept = detected.ravel()
    measured = ranged[kept] / total[kept] + rng.normal(0, settings.range_noise, kept.sum())
    tilt = rng.normal(0, settings.pointing_noise * 1e-3, (2, count))
    pointing = _tilted(pulses.directions, tilt[0], tilt[1])
    gain = 20_000 * rng.lognormal(0, 0.05, kept.sum())
    return PointCloud(
        pulses.origins[pulse] + measured[:, None] * pointing[pulse],
        {
            "intensity": np.clip(np.rint(total[kept] * gain), 1, 65_535).astype(np.uint16),
            "return_number": np.cumsum(detected, axis=1)[detected].astype(np.uint8),
            "number_of_returns": returns[pulse].astype(np.uint8),
            "gps_time": pulses.time[pulse],
            "scan_angle": np.round(pulses.scan_angle[pulse] / LAS_ANGLE_UNIT).astype(np.int16),
            "classification": np.array(list(by_label), dtype=np.uint8)[strongest[kept]],
            "point_source_id": pulses.strip[pulse],
        },
    )

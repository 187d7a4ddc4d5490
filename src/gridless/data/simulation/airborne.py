"""One call from a seed to a labelled airborne survey."""

from __future__ import annotations

import numpy as np

from gridless.cloud import PointCloud
from gridless.data.simulation.scanner import ScannerSettings, fly, scan
from gridless.data.simulation.scene import SceneSettings, build_scene

ORIGIN = (650_000.0, 6_860_000.0, 0.0)  # map-like, so that code which forgets to subtract an origin fails here too


def simulate_airborne_lidar(
    seed: int,
    size: tuple[float, float] = (80.0, 80.0),
    density: float = 9.0,
    scene: SceneSettings | None = None,
    scanner: ScannerSettings | None = None,
) -> PointCloud:
    """Build a scene, fly a laser scanner over it and record what its rays hit.

    Args:
        seed: decides the scene and the noise; the same seed and settings give the same bits.
        size: metres in x and y.
        density: pulses per m², all strips together; crowns and edges return about a quarter more points than that.
        scene: what stands in the scene.
        scanner: how it is flown over.

    Returns:
        Points in map coordinates near (650000, 6860000, 100) with the columns of a LAS file: intensity,
        return_number, number_of_returns, gps_time, scan_angle (units of 0.006°, as LAS has it), classification
        (2 ground, 3 low vegetation, 5 high vegetation, 6 building, 14 wire, 15 pole, 64 vehicle) and point_source_id
        (the strip). A pulse of which any return lies outside ``size`` is left out whole.

    Raises:
        ValueError: size or density is not above 0.

    Example:
        >>> cloud = simulate_airborne_lidar(seed=1, size=(20.0, 20.0), density=4.0)
        >>> bool((cloud["return_number"] <= cloud["number_of_returns"]).all())
        True
    """
    if len(size) != 2 or not all(np.isfinite(side) and side > 0 for side in size):
        raise ValueError(f"simulate_airborne_lidar: size must be two lengths above 0 in metres, got {size!r}")
    if not (np.isfinite(density) and density > 0):
        raise ValueError(f"simulate_airborne_lidar: density must be above 0 pulses per m², got {density!r}")
    scene, scanner = scene or SceneSettings(), scanner or ScannerSettings()
    scene_rng, flight_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    built = build_scene(size, scene, scene_rng)
    pulses = fly(size, scene.ground_height, density, scanner, flight_rng)
    cloud = scan(built.terrain, built.shapes, pulses, scanner, flight_rng)
    outside = ((cloud.positions[:, :2] < 0) | (cloud.positions[:, :2] > size)).any(axis=1)
    cloud = cloud[~np.isin(cloud["gps_time"], cloud["gps_time"][outside])]
    return PointCloud(cloud.positions + ORIGIN, cloud.columns)

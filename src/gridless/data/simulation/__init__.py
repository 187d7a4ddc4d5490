"""Seeded ray-cast airborne LiDAR: scenes as geometry, pulses as rays, labels from what was hit."""

from gridless.data.simulation.airborne import simulate_airborne_lidar
from gridless.data.simulation.scanner import ScannerSettings
from gridless.data.simulation.scene import SceneSettings

__all__ = ["ScannerSettings", "SceneSettings", "simulate_airborne_lidar"]

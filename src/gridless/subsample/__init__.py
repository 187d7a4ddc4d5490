"""Positions in, kept indices out."""

from gridless.subsample.farthest import farthest
from gridless.subsample.voxel import voxel_grid

__all__ = ["farthest", "voxel_grid"]

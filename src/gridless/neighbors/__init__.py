"""Positions in, indices out: the supports on which operators work."""

from gridless.neighbors.neighborhoods import Neighborhoods
from gridless.neighbors.point_index import PointIndex
from gridless.neighbors.search import knn, local_density, within_radius

__all__ = ["Neighborhoods", "PointIndex", "knn", "local_density", "within_radius"]

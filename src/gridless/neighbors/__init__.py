"""Positions in, indices out: the supports on which operators work."""

from gridless.neighbors.neighborhoods import Neighborhoods
from gridless.neighbors.search import knn, local_density, within_radius

__all__ = ["Neighborhoods", "knn", "local_density", "within_radius"]

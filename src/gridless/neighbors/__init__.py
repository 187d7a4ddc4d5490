"""Positions in, indices out: the supports on which operators work."""

from gridless.neighbors.neighborhoods import Neighborhoods
from gridless.neighbors.point_index import PointIndex
from gridless.neighbors.search import knn, local_density, within_radius
from gridless.neighbors.supports import AllPairs, all_pairs, periodic_images, preceding, within_hops, wrap_into_box

__all__ = [
    "AllPairs",
    "Neighborhoods",
    "PointIndex",
    "all_pairs",
    "knn",
    "local_density",
    "periodic_images",
    "preceding",
    "within_hops",
    "within_radius",
    "wrap_into_box",
]

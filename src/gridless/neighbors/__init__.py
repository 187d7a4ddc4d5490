"""Positions in, indices out: the supports on which operators work."""

from gridless.neighbors.neighborhoods import Neighborhoods

__all__ = ["Neighborhoods"]

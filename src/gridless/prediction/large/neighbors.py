"""Which of the files given together lie side by side, and the points of one along the borders of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud, horizontal
from gridless.io import PointChunks
from gridless.io import open as open_file
from gridless.prediction.memory import POINTS_AT_A_TIME

_LARGEST_OVERLAP = 0.1
Box = tuple[NDArray[np.float64], NDArray[np.float64]]


def bounds_of(file: Path) -> Box | None:
    """Bounds of a file, from its header if that has them; None for an empty file."""
    with open_file(file, chunk_size=POINTS_AT_A_TIME) as chunks:
        if not len(chunks):
            return None
        if (box := header_bounds(chunks)) is not None:
            return box
        parts = [(chunk.positions.min(axis=0), chunk.positions.max(axis=0)) for chunk in chunks]
    return np.min([low for low, _ in parts], axis=0), np.max([high for _, high in parts], axis=0)


def header_bounds(chunks: PointChunks) -> Box | None:
    """Bounds that an open file's header tells; None if it tells none."""
    header = chunks.metadata.get("las_header")
    return None if header is None else (np.array(header.mins), np.array(header.maxs))


def side_by_side(boxes: Sequence[Box | None], reach: float) -> list[list[int]]:
    """For each box the others closer than ``reach`` in the plane that do not lie on top of it.

    Scans in their sensors' coordinates and flights over the same place overlap; tiles of one map hardly do.

    Example:
        >>> corners = [np.array([x, 0.0, 0.0]) for x in (0.0, 10.0, 5.0)]
        >>> side_by_side([(corner, corner + 10) for corner in corners], 2.0)
        [[1], [0], []]
    """
    found: list[list[int]] = []
    for index, box in enumerate(boxes):
        found.append([])
        for other_index, other in enumerate(boxes):
            if index == other_index or box is None or other is None or len(box[0]) != len(other[0]):
                continue
            gap, shared = _gap_and_overlap(box, other)
            if gap <= reach and shared <= _LARGEST_OVERLAP:
                found[-1].append(other_index)
    return found


def points_around(
    file: Path, low: NDArray[np.float64], high: NDArray[np.float64], reach: float
) -> Iterator[PointCloud]:
    """The points of a file within ``reach`` of a box in the plane, chunk by chunk."""
    low, high = horizontal(low), horizontal(high)
    with open_file(file, chunk_size=POINTS_AT_A_TIME) as chunks:
        for chunk in chunks:
            place = chunk.horizontal
            yield chunk[((place >= low - reach) & (place <= high + reach)).all(axis=1)]


def _gap_and_overlap(box: Box, other: Box) -> tuple[float, float]:
    """Largest distance along an axis, and the part of the smaller box that lies in the other, in the plane."""
    low, high = horizontal(np.maximum(box[0], other[0])), horizontal(np.minimum(box[1], other[1]))
    smaller = min(np.prod(horizontal(b[1] - b[0])) for b in (box, other))
    shared = np.prod(np.maximum(high - low, 0.0))
    return float((low - high).max()), float(shared / smaller) if smaller > 0 else 0.0

"""Tiles: boxes of cells that together hold every crop, each with no more points around it than memory takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tile:
    """Cells low <= cell < high [D - 1]."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def grown(self, by: int) -> Tile:
        """With so many cells more on every side."""
        return Tile(self.low - by, self.high + by)

    def holds(self, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the cells [N, D - 1] lie in it."""
        return np.asarray(((cells >= self.low) & (cells < self.high)).all(axis=1))

    def meets(self, other: Tile) -> bool:
        """Whether the two have a cell in common."""
        return bool(((self.low < other.high) & (other.low < self.high)).all())


class CrowdedCellError(ValueError):
    """A single cell and its halo hold more points than memory takes; carries the most that any of them holds."""

    def __init__(self, points: int, limit: int) -> None:
        self.points = points
        super().__init__(
            f"{points} points have to be in memory for a single crop and what its features look at, and the memory "
            f"allowed is enough for {limit}"
        )


def cut_tiles(cells: NDArray[np.int64], counts: NDArray[np.int64], halo: int, limit: int) -> list[Tile]:
    """Halve the box around all cells until each tile with its halo holds at most ``limit`` points.

    Args:
        cells: [R, D - 1], may repeat.
        counts: [R] points in each.
        halo: cells on every side that are loaded with a tile.
        limit: points in memory at once.

    Returns:
        Disjoint tiles that cover every cell within ``halo`` of a point.

    Raises:
        CrowdedCellError: a single cell and its halo hold more.

    Example:
        >>> cells = np.array([[0, 0], [1, 0], [9, 0]])
        >>> [tile.low.tolist() for tile in cut_tiles(cells, np.array([5, 5, 5]), 1, 10)]
        [[-1, -1], [5, -1]]
    """
    tiles, open_boxes = [], [Tile(cells.min(axis=0), cells.max(axis=0) + 1).grown(halo)]
    while open_boxes:
        box = open_boxes.pop()
        loaded = int(counts[box.grown(halo).holds(cells)].sum())
        if loaded == 0:
            continue
        sides = box.high - box.low
        if loaded <= limit:
            tiles.append(box)
        elif sides.max() == 1:
            raise CrowdedCellError(_most_around_a_cell(cells, counts, halo), limit)
        else:
            axis = int(sides.argmax())
            middle = (box.low[axis] + box.high[axis]) // 2
            ends, starts = box.high.copy(), box.low.copy()
            ends[axis] = starts[axis] = middle
            open_boxes += [Tile(starts, box.high), Tile(box.low, ends)]
    return tiles


def _most_around_a_cell(cells: NDArray[np.int64], counts: NDArray[np.int64], halo: int) -> int:
    """Points of the cell and its halo that hold the most."""
    steps = np.stack(np.meshgrid(*[np.arange(-halo, halo + 1)] * cells.shape[1]), axis=-1).reshape(-1, cells.shape[1])
    centers = (cells[:, None] + steps).reshape(-1, cells.shape[1])
    _, place = np.unique(centers, axis=0, return_inverse=True)
    return int(np.bincount(place.ravel(), np.repeat(counts, len(steps))).max())

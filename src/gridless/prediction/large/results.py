"""Results: the probabilities of every stored point, on disk in the order of the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.prediction.large.store import consecutive


class Results:
    """A plain file, written in any order and read chunk by chunk.

    Args:
        path: the file, made anew.
        num_classes: columns of the probabilities.
    """

    def __init__(self, path: Path, num_classes: int) -> None:
        self.path, self.num_classes = path, num_classes
        path.write_bytes(b"")

    def put(self, places: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Keep the probabilities [n, classes] of the points at these places (ascending)."""
        with self.path.open("r+b") as file:
            for rows in consecutive(places):
                file.seek(int(places[rows.start]) * 4 * self.num_classes)
                file.write(np.ascontiguousarray(probabilities[rows]).data)

    def of_chunk(self, first: int, row_of_place: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities [n, classes] of the places from ``first`` on, in the order of the file."""
        n, width = len(row_of_place), self.num_classes
        stored = np.fromfile(self.path, np.float32, n * width, offset=4 * first * width)
        probabilities = np.empty((n, width), np.float32)
        probabilities[row_of_place] = stored.reshape(n, width)
        return probabilities

"""Results: the class, and on demand the probabilities, of every stored point, on disk in the order of the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.prediction.large.store import consecutive


class Results:
    """Two plain files, written in any order and read chunk by chunk.

    Args:
        folder: where they lie.
        num_classes: columns of the probabilities.
        probabilities: whether they are kept.
    """

    def __init__(self, folder: Path, num_classes: int, probabilities: bool) -> None:
        self.num_classes = num_classes
        self._classes = folder / "classes.bin"
        self._probabilities = folder / "probabilities.bin" if probabilities else None
        for path in (self._classes, self._probabilities):
            if path is not None:
                path.write_bytes(b"")

    def put(self, places: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Keep the results of the points at these places (ascending)."""
        _put(self._classes, places, probabilities.argmax(axis=1).astype(np.uint16))
        if self._probabilities is not None:
            _put(self._probabilities, places, probabilities)

    def of_chunk(
        self, first: int, row_of_place: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint16], NDArray[np.float32] | None]:
        """Classes [n] and probabilities [n, classes] of the places from ``first`` on, in the order of the file."""
        n = len(row_of_place)
        classes = np.empty(n, np.uint16)
        classes[row_of_place] = np.fromfile(self._classes, np.uint16, n, offset=2 * first)
        if self._probabilities is None:
            return classes, None
        probabilities = np.empty((n, self.num_classes), np.float32)
        width = self.num_classes
        stored = np.fromfile(self._probabilities, np.float32, n * width, offset=4 * first * width)
        probabilities[row_of_place] = stored.reshape(n, width)
        return classes, probabilities


def _put(path: Path, places: NDArray[np.int64], values: NDArray[np.generic]) -> None:
    bytes_per_row = values.itemsize * int(np.prod(values.shape[1:]))
    with path.open("r+b") as file:
        for rows in consecutive(places):
            file.seek(int(places[rows.start]) * bytes_per_row)
            file.write(np.ascontiguousarray(values[rows]).data)

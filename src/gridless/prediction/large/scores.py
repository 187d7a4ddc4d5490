"""Scores of tiles on disk: what each tile's crops add to the points of itself and of the tiles around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TileScores:
    """A folder with a file for each pair of tiles (crops of one, points of the other) and a mark for finished tiles.

    Sums are kept apart until all are there and then added in the order of the tiles, so that the result does not
    depend on interruptions.

    Args:
        folder: made if it does not exist.
        num_classes: columns of the scores.
    """

    def __init__(self, folder: Path, num_classes: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.record = np.dtype([("place", "<i8"), ("sums", "<f4", (num_classes,))])

    def is_done(self, tile: int) -> bool:
        """Whether all that this tile's crops add is there."""
        return (self.folder / f"{tile}.done").exists()

    def add(self, tile: int, target: int, places: NDArray[np.int64], sums: NDArray[np.float32]) -> None:
        """Keep what the crops of ``tile`` add to points of ``target``."""
        records = np.empty(len(places), self.record)
        records["place"], records["sums"] = places, sums
        np.save(self._file(tile, target), records)

    def finish(self, tile: int) -> None:
        """Mark a tile whose sums have all been added."""
        (self.folder / f"{tile}.done").touch()

    def sums(self, target: int, sources: list[int], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """What all crops add [n, classes] to the points of a tile at these places (ascending)."""
        sums = np.zeros((len(places), self.record["sums"].shape[0]), np.float32)
        for source in sources:
            if self._file(source, target).exists():
                records: NDArray[Any] = np.load(self._file(source, target))
                sums[np.searchsorted(places, records["place"])] += records["sums"]
        return sums

    def _file(self, tile: int, target: int) -> Path:
        return self.folder / f"{tile}-{target}.npy"

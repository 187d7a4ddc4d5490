"""PointStore: the points of a file in one plain file on disk, found again by their place.

Points are appended chunk by chunk, each chunk sorted by square cells. A table in memory says where the run of each
cell and chunk lies, so that any box of cells is read with one seek a run, whatever the order of the source.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud, horizontal
from gridless.io import replaced_when_complete
from gridless.prediction.memory import POINTS_AT_A_TIME

_POINTS, _RUNS, _FACTS = "points.bin", "runs.npz", "store.json"
_FARTHEST_CELL = 2**53


@dataclass(frozen=True, eq=False)
class PointStore:
    """The points of a file and, behind them, those of neighboring files that are only looked at.

    Args:
        folder: where it lies.
        edge: side of a cell.
        chunk_size: points of the file that were sorted together; only within such a chunk places and rows differ.
        record: what is stored of a point: its index in reading order, its position, and columns.
        num_own: points of the file itself; they come first.
        low, high: bounds of all points [D].
        own_low, own_high: bounds of the file's own points [D].
        cells: [R, D - 1] cell of each run.
        starts: [R] first place of each run in the file of points, ascending.
        counts: [R] points of each run.
    """

    folder: Path
    edge: float
    chunk_size: int
    record: np.dtype[Any]
    num_own: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    own_low: NDArray[np.float64]
    own_high: NDArray[np.float64]
    cells: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a complete store lies there."""
        return (folder / _FACTS).exists()

    @staticmethod
    def open(folder: Path) -> PointStore:
        """A store that a :class:`StoreWriter` completed."""
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        record = np.dtype([(name, kind, tuple(shape)) for name, kind, shape in facts["record"]])
        low, high, own_low, own_high = (np.array(facts[name]) for name in ("low", "high", "own_low", "own_high"))
        with np.load(folder / _RUNS) as runs:
            return PointStore(
                folder,
                facts["edge"],
                facts["chunk_size"],
                record,
                facts["num_own"],
                low,
                high,
                own_low,
                own_high,
                runs["cells"],
                runs["starts"],
                runs["counts"],
            )

    def places(self, low: NDArray[np.int64], high: NDArray[np.int64], own: bool = False) -> NDArray[np.int64]:
        """Places of the points in the cells low <= cell < high, ascending; with ``own`` only of the file's own."""
        runs = ((self.cells >= low) & (self.cells < high)).all(axis=1)
        if own:
            runs &= self.starts < self.num_own
        starts, counts = self.starts[runs], self.counts[runs]
        before = np.cumsum(counts) - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum())

    def load(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """The records at these places (ascending)."""
        records = np.empty(len(places), self.record)
        with (self.folder / _POINTS).open("rb", buffering=0) as file:
            for rows in consecutive(places):
                file.seek(int(places[rows.start]) * self.record.itemsize)
                _read_into(file, records[rows])
        return records

    def cloud(self, records: NDArray[Any]) -> PointCloud:
        """Records as a cloud."""
        columns = {name[1:]: records[name].copy() for name in self.record.names or () if name.startswith("=")}
        return PointCloud(np.ascontiguousarray(records["position"]), columns)

    def blocks(self) -> Iterator[PointCloud]:
        """All points, block by block."""
        total = int(self.counts.sum())
        for start in range(0, total, POINTS_AT_A_TIME):
            yield self.cloud(self.load(np.arange(start, min(start + POINTS_AT_A_TIME, total))))


class StoreWriter:
    """Fills a folder with the points of a file.

    Args:
        folder: an existing folder; what a store left there is replaced.
        edge: side of a cell.
        chunk_size: points of each of the file's own chunks but the last.
        columns: those to keep, as far as the first chunk has them.
    """

    def __init__(self, folder: Path, edge: float, chunk_size: int, columns: Iterable[str]) -> None:
        self.folder, self.edge, self.chunk_size, self.columns = folder, edge, chunk_size, tuple(columns)
        self.bounds: list[NDArray[np.float64]] = []
        self.own_bounds: NDArray[np.float64] | None = None
        self.num_points = self.num_own = 0
        self._record: np.dtype[Any] | None = None
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        (folder / _FACTS).unlink(missing_ok=True)
        (folder / _POINTS).write_bytes(b"")

    def append(self, chunk: PointCloud, own: bool, context: str) -> None:
        """Append points; all the file's own have to come before those of other files.

        Raises:
            ValueError: NaN coordinates, coordinates too large for the cells, or columns unlike the first chunk's.
        """
        if not len(chunk):
            return
        chunk.require_finite(context)
        if (difference := self.difference(chunk)) is not None:
            raise ValueError(f"{context}: {difference}")
        cells = cells_of(chunk.positions, self.edge)
        if np.abs(cells).max() >= _FARTHEST_CELL:
            raise ValueError(f"{context}: coordinates up to {np.abs(chunk.positions).max():.3g} are beyond reach")
        if self._record is None:
            self.columns = tuple(name for name in self.columns if name in chunk)
            fields = [("index", "<i8", ()), ("position", "<f8", (chunk.dim,))]
            fields += [(f"={n}", chunk[n].dtype.str, chunk[n].shape[1:]) for n in self.columns]
            self._record = np.dtype(fields)
        order = np.lexsort(cells.T)
        cells = cells[order]
        first = np.flatnonzero(np.concatenate([[True], (cells[1:] != cells[:-1]).any(axis=1)]))
        records = np.empty(len(chunk), self._record)
        records["index"] = self.num_points + order
        records["position"] = chunk.positions[order]
        for name in self.columns:
            records[f"={name}"] = chunk[name][order]
        with (self.folder / _POINTS).open("ab") as file:
            file.write(records.data)
        self._runs.append((cells[first], self.num_points + first, np.diff(np.append(first, len(chunk)))))
        self.num_points += len(chunk)
        self.bounds = _widened(self.bounds, chunk)
        if own:
            self.num_own = self.num_points
            self.own_bounds = np.stack(self.bounds)

    def difference(self, chunk: PointCloud) -> str | None:
        """What keeps a chunk's columns from being stored unchanged beside those of the first; None if nothing does."""
        if self._record is None:
            return None
        for name in self.columns:
            stored = self._record[f"={name}"]
            if name not in chunk:
                return f"no column {name!r}"
            if (chunk[name].dtype, chunk[name].shape[1:]) != (stored.base, stored.shape):
                here, there = np.dtype((chunk[name].dtype, chunk[name].shape[1:])), stored
                return f"column {name!r} is {here}, not {there}"
        return None

    def finish(self) -> PointStore:
        """Complete the store."""
        assert self._record is not None
        assert self.own_bounds is not None
        cells, starts, counts = (np.concatenate(parts) for parts in zip(*self._runs, strict=True))
        np.savez(self.folder / _RUNS, cells=cells, starts=starts, counts=counts)
        facts = {
            "edge": self.edge,
            "chunk_size": self.chunk_size,
            "record": [[n, self._record[n].base.str, self._record[n].shape] for n in self._record.names or ()],
            "num_own": self.num_own,
            "low": self.bounds[0].tolist(),
            "high": self.bounds[1].tolist(),
            "own_low": self.own_bounds[0].tolist(),
            "own_high": self.own_bounds[1].tolist(),
        }
        with replaced_when_complete(self.folder / _FACTS) as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")
        return PointStore.open(self.folder)


def axis_cell(center: NDArray[np.float64], edge: float) -> NDArray[np.int64]:
    """Cell [D - 1] of a horizontal place."""
    return np.floor(center / edge).astype(np.int64)


def cells_of(positions: NDArray[np.float64], edge: float) -> NDArray[np.int64]:
    """Cell [N, D - 1] of each point; cells are tied to the origin of the coordinates."""
    return np.floor(np.clip(horizontal(positions) / edge, -_FARTHEST_CELL, _FARTHEST_CELL)).astype(np.int64)


def consecutive(places: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of ascending places within which they follow one another.

    Example:
        >>> list(consecutive(np.array([3, 4, 9])))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    edges = [0, *breaks.tolist(), len(places)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            yield slice(start, stop)


def _read_into(file: Any, records: NDArray[Any]) -> None:
    wanted = memoryview(records.view(np.uint8).data)
    while len(wanted):
        got = file.readinto(wanted)
        if not got:
            raise OSError(f"{file.name} is cut short; delete its folder and start again")
        wanted = wanted[got:]


def _widened(bounds: list[NDArray[np.float64]], chunk: PointCloud) -> list[NDArray[np.float64]]:
    low, high = chunk.positions.min(axis=0), chunk.positions.max(axis=0)
    return [np.minimum(bounds[0], low), np.maximum(bounds[1], high)] if bounds else [low, high]

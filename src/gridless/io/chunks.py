"""What every format's reader returns: rows of one file on demand, and the chunks made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud


def _nothing_to_close() -> None: ...


def check_count(path: object, written: int, promised: int) -> None:
    """Refuse a file that did not get the points it was created for."""
    if written != promised:
        raise ValueError(f"create: {path} was to get {promised} points and got {written}")


def check_columns(path: object, given: Collection[str], first: Collection[str]) -> None:
    """Refuse a cloud that lacks a column of the first one, or has one more."""
    missing = [name for name in first if name not in given]
    added = [name for name in given if name not in first]
    if missing or added:
        difference = " and ".join(
            f"{what} {', '.join(map(repr, names))}" for what, names in (("lacks", missing), ("adds", added)) if names
        )
        raise ValueError(f"create: {path}: a cloud {difference}; all need the columns of the first one")


def as_stored(path: object, name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in the type that the first cloud gave this column; refuses those that would change."""
    if values.dtype == dtype.newbyteorder("="):
        return values
    with np.errstate(all="ignore"):
        stored = values.astype(dtype)
        # There and back finds integers that a float rounds, the values themselves find the -1 that became 255.
        same = (stored == values) & (stored.astype(values.dtype) == values)
    same |= np.isnan(stored) & np.isnan(values)
    if not same.all():
        raise ValueError(
            f"create: {path}: column {name!r} is {dtype.name} since the first cloud, which does not hold "
            f"{values[~same][0]} ({values.dtype}); give the first cloud a type for all values"
        )
    return stored


class PointChunks:
    """The points of one open file, in file order, as clouds of at most ``chunk_size`` points.

    Iterating again starts again at the first point. Use it in a ``with`` statement so that the file is closed.

    Args:
        num_points: N, all points of the file.
        chunk_size: largest number of points in one chunk, at least 1.
        rows: ``rows(start, stop)`` gives the cloud of these rows, as arrays that do not depend on the open file.
        metadata: what the clouds carry, known before the first point is read.
        close: called once when the file is no longer needed.

    Raises:
        ValueError: ``chunk_size`` is below 1.

    Example:
        >>> import numpy as np
        >>> cloud = PointCloud(np.arange(15.0).reshape(5, 3))
        >>> with PointChunks(len(cloud), 2, lambda start, stop: cloud[start:stop]) as chunks:
        ...     [len(chunk) for chunk in chunks]
        [2, 2, 1]
    """

    def __init__(
        self,
        num_points: int,
        chunk_size: int,
        rows: Callable[[int, int], PointCloud],
        metadata: dict[str, Any] | None = None,
        close: Callable[[], object] = _nothing_to_close,
    ) -> None:
        if chunk_size < 1:
            close()
            raise ValueError(f"gridless.io.open: chunk_size must be at least 1, got {chunk_size}")
        self.num_points = num_points
        self.chunk_size = chunk_size
        self.metadata = metadata or {}
        self._rows = rows
        self._on_close = contextlib.ExitStack()
        self._on_close.callback(close)

    def __len__(self) -> int:
        """Number of points (not of chunks), as for a cloud."""
        return self.num_points

    def __iter__(self) -> Iterator[PointCloud]:
        for start in range(0, self.num_points, self.chunk_size):
            yield self._rows(start, min(start + self.chunk_size, self.num_points))

    def read_all(self) -> PointCloud:
        """Every point as one cloud; a file of zero points gives an empty cloud with its columns."""
        return self._rows(0, self.num_points)

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        self._on_close.close()

    def __enter__(self) -> PointChunks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

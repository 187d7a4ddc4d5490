"""WholeCloud: what features have to know of all of a cloud when they are computed on a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud

Blocks = Callable[[], Iterable[PointCloud]]
_LARGEST_RASTER = 4e8
_DIGIT = 16  # bits that one pass over the cloud settles of a quantile


class WholeCloud:
    """Bounds of a cloud, and what follows from going through all its points block by block.

    Args:
        low, high: bounds [D].
        blocks: gives all points, block by block, as often as it is called.

    Attributes:
        surfaces: rasters that features computed from the whole, by name and options.

    Example:
        >>> halves = [PointCloud([[0.0, 5.0]]), PointCloud([[3.0, 1.0]])]
        >>> whole = WholeCloud(np.array([0.0, 1.0]), np.array([3.0, 5.0]), lambda: halves)
        >>> whole.lowest_per_cell(2.0).tolist(), whole.center().tolist()
        ([5.0, 1.0], [1.5, 3.0])
    """

    def __init__(self, low: NDArray[np.float64], high: NDArray[np.float64], blocks: Blocks) -> None:
        self.low, self.high, self._blocks = low, high, blocks
        self.surfaces: dict[tuple[Any, ...], NDArray[np.float64]] = {}

    @staticmethod
    def of(cloud: PointCloud) -> WholeCloud:
        """A cloud that is in memory as one block."""
        bounds = cloud.positions if len(cloud) else np.zeros((1, cloud.dim))
        return WholeCloud(bounds.min(axis=0), bounds.max(axis=0), lambda: [cloud])

    def without_points(self) -> WholeCloud:
        """A copy to send to other processes: it knows the surfaces computed so far and can compute no others."""
        copy = WholeCloud(self.low, self.high, _no_blocks)
        copy.surfaces = dict(self.surfaces)
        return copy

    def center(self) -> NDArray[np.float64]:
        """Middle of the bounds [D]."""
        return (self.low + self.high) / 2

    def lowest_per_cell(self, cell: float) -> NDArray[np.float64]:
        """Lowest last coordinate in each cell of a horizontal raster tied to the lower bounds; infinite where empty.

        Raises:
            ValueError: no axis is horizontal, or the raster would be too large.
        """
        if len(self.low) < 2:
            raise ValueError(
                f"heights above others need at least two coordinates, the last one up, got {len(self.low)}"
            )
        key = ("lowest", cell)
        if key not in self.surfaces:
            shape = ((self.high - self.low)[:-1] / cell).astype(np.int64) + 1
            if np.prod(shape.astype(np.float64)) > _LARGEST_RASTER:
                raise ValueError(
                    f"heights: a raster of {' x '.join(map(str, shape))} cells of {cell} is too large; "
                    "remove points far outside the scene or choose a larger cell"
                )
            lowest = np.full(tuple(shape), np.inf)
            for block in self._blocks():
                cells = np.minimum(self.in_cells(block, cell).astype(np.int64), shape - 1)
                np.minimum.at(lowest, tuple(cells.T), block.positions[:, -1])
            self.surfaces[key] = lowest
        return self.surfaces[key]

    def in_cells(self, part: PointCloud, cell: float) -> NDArray[np.float64]:
        """Each point's horizontal place in units of the raster's cells."""
        place: NDArray[np.float64] = (part.positions[:, :-1] - self.low[:-1]) / cell
        return place

    def quantiles(
        self, values_of: Callable[[PointCloud], NDArray[np.float64]], wanted: tuple[float, ...]
    ) -> NDArray[np.float64]:
        """Exact quantiles [len(wanted), C] of ``values_of(block)`` [n, C] over all blocks, in bounded memory.

        The order statistics are found digit by digit: a histogram of the leading bits says which values share them
        with the one sought, the next pass looks only at those. Between two order statistics values are interpolated.

        Example:
            >>> cloud = PointCloud(np.arange(8.0)[:, None])
            >>> WholeCloud.of(cloud).quantiles(lambda block: block.positions, (0.0, 0.5)).tolist()
            [[0.0], [3.5]]
        """
        sizes = []
        for block in self._blocks():
            values = values_of(block)
            sizes.append(values.shape)
        if len(sizes) == 1:
            return np.quantile(values, wanted, axis=0)
        num_values = sum(size[0] for size in sizes)
        places = np.array(wanted) * (num_values - 1)
        ranks = np.unique(np.concatenate([np.floor(places), np.ceil(places)]).astype(np.int64))
        channels = []
        for channel in range(sizes[0][1]):
            ordered = self._order_statistics(values_of, channel, ranks)
            below, above = (ordered[np.searchsorted(ranks, side(places))] for side in (np.floor, np.ceil))
            share = places - np.floor(places)
            # From the nearer one, to the same bits as numpy.
            channels.append(
                np.where(share < 0.5, below + (above - below) * share, above - (above - below) * (1 - share))
            )
        return np.stack(channels, axis=1)

    def _order_statistics(
        self, values_of: Callable[[PointCloud], NDArray[np.float64]], channel: int, ranks: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        prefixes, left = np.zeros(len(ranks), np.uint64), ranks.copy()
        for shift in range(64 - _DIGIT, -1, -_DIGIT):
            known = sorted(set(prefixes.tolist()))
            counts = {prefix: np.zeros(1 << _DIGIT, np.int64) for prefix in known}
            for block in self._blocks():
                digits = _sortable(values_of(block)[:, channel]) >> np.uint64(shift)
                leading = digits >> np.uint64(_DIGIT)
                for prefix, count in counts.items():
                    last = (digits[leading == prefix] & np.uint64((1 << _DIGIT) - 1)).astype(np.int64)
                    count += np.bincount(last, minlength=1 << _DIGIT)
            for index, prefix in enumerate(prefixes.tolist()):
                sums = counts[prefix].cumsum()
                digit = int(np.searchsorted(sums, left[index], side="right"))
                left[index] -= sums[digit - 1] if digit else 0
                prefixes[index] = (prefix << _DIGIT) | digit
        return _from_sortable(prefixes)


def _no_blocks() -> Iterable[PointCloud]:
    raise RuntimeError("this copy of a WholeCloud has no points; compute what is needed of them before it is made")


def _sortable(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the values: the sign bit turned, and every bit of negative values."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _from_sortable(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    sign = np.uint64(1 << 63)
    return np.where(keys & sign, keys ^ sign, ~keys).view(np.float64)

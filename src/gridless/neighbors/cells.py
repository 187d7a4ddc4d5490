"""Points sorted by the cell they lie in, for cells of any power of two of the finest ones at once.

Cells are numbered along a Morton curve (the bits of their D coordinates, interleaved) behind the number of their cloud.
A cell of coarseness s, 2^s finest cells wide, then is one run of the sorted numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_LARGEST_BITS = 20
_KEY_BITS = 62
# Wide beside the rounding of a cell's border (2^20 cells of numbers with 53 bits), narrow beside a cell.
BORDER = 1e-6
_CROWDED = 64
# Squares of shorter lengths are not told apart from zero.
_SHORTEST_EDGE = 1e-150
_ROWS_PER_BLOCK = 1 << 12
_CANDIDATES_PER_BLOCK = 1 << 22


@dataclass(frozen=True)
class Places:
    """Where Q points lie.

    Args:
        positions: [Q, D] float64.
        clouds: [Q] number of the point's cloud among those of the table.
        known: [Q] whether the table has that cloud at all.
        cells: [Q, D] int64 finest cell; points outside of the grid are counted to its border.
    """

    positions: Tensor
    clouds: Tensor
    known: Tensor
    cells: Tensor

    def select(self, rows: Tensor) -> Places:
        """Some of the points."""
        return Places(self.positions[rows], self.clouds[rows], self.known[rows], self.cells[rows])


@dataclass(frozen=True)
class Windows:
    """The 3^D cells around each of Q points, as runs of the sorted sources.

    Args:
        begins: [Q, 3^D] where each cell begins.
        counts: [Q, 3^D] sources of each cell.
        totals: [Q] sources of all of them.
        reach: [Q] no source closer than this is outside.
        whole: [Q] whether they hold all sources of the cloud.
    """

    begins: Tensor
    counts: Tensor
    totals: Tensor
    reach: Tensor
    whole: Tensor

    def blocks(self, rows: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The rows in blocks of about equal totals, each with its largest."""
        totals, order = self.totals[rows].sort()
        parts = order.split(_ROWS_PER_BLOCK)
        ends = [
            min(end, len(order)) - 1 for end in range(_ROWS_PER_BLOCK, len(order) + _ROWS_PER_BLOCK, _ROWS_PER_BLOCK)
        ]
        for part, width in zip(parts, totals[ends].tolist() if len(order) else [], strict=False):
            for block in part.split(max(1, _CANDIDATES_PER_BLOCK // max(1, width))):
                yield rows[block], width


@dataclass(frozen=True)
class CellTable:
    """N sources of B clouds, sorted by their finest cell. Lengths are halved: no difference of coordinates overflows.

    Args:
        positions: [D, N] float64, in the order given.
        keys: [N'] sorted numbers of the sources' cells.
        order: [N'] which source each is; those of one cell in increasing order.
        labels: [B] what the clouds are called.
        corners: [B, D] half the lowest coordinates of each cloud.
        edges: [B] half the edge of its finest cells.
        bits: 2^bits finest cells along an axis.
        copies: [N'] how many equal positions come before it; None where no cell is crowded.
    """

    positions: Tensor
    keys: Tensor
    order: Tensor
    labels: Tensor
    corners: Tensor
    edges: Tensor
    bits: int
    copies: Tensor | None

    @staticmethod
    def of(source: Tensor, batch: Tensor | None) -> CellTable:
        """A table of these sources [N, D], on their device."""
        # The sum turns -0 into 0: sorts on some devices tell the two apart.
        exact = source.to(torch.float64) + 0.0
        if batch is None:
            labels, clouds = exact.new_zeros(1, dtype=torch.int64), exact.new_zeros(len(exact), dtype=torch.int64)
        else:
            labels, clouds = torch.unique(batch, return_inverse=True)
        low, high = (_bounds(exact / 2, clouds, len(labels), end) for end in ("amin", "amax"))
        dim = exact.shape[1]
        bits = min(_LARGEST_BITS, (_KEY_BITS - len(labels).bit_length()) // dim)
        edges = ((high - low).amax(dim=1) / 2**bits).clamp(min=_SHORTEST_EDGE)
        empty = clouds[:0]
        table = CellTable(exact.T.contiguous(), empty, empty, labels, low, edges, bits, None)
        keys, order = table._keys(table._cells(exact, clouds), clouds).sort(stable=True)
        table = replace(table, keys=keys, order=order)
        in_cells = torch.unique_consecutive(keys, return_counts=True)[1]
        crowded = len(keys) > 0 and int(in_cells.max()) > _CROWDED
        return replace(table, copies=table._copy_numbers()) if crowded else table

    @property
    def dim(self) -> int:
        """D."""
        return self.positions.shape[0]

    def with_few_copies(self, k: int) -> CellTable:
        """Without those sources that k others with the same position come before: they are in no row of k."""
        if self.copies is None:
            return self
        kept = self.copies < k
        return replace(self, keys=self.keys[kept], order=self.order[kept], copies=None)

    def place(self, points: Tensor, batch: Tensor | None) -> Places:
        """Where these points [Q, D] lie."""
        exact = points.to(torch.float64)
        if batch is None:
            clouds = torch.zeros(len(exact), dtype=torch.int64, device=exact.device)
            known = torch.ones_like(clouds, dtype=torch.bool)
        else:
            clouds = torch.searchsorted(self.labels, batch.contiguous()).clamp(max=len(self.labels) - 1)
            known = self.labels[clouds] == batch
        return Places(exact, clouds, known, self._cells(exact, clouds))

    def keys_of(self, places: Places) -> Tensor:
        """Numbers [Q] of the finest cells that points lie in."""
        return self._keys(places.cells, places.clouds)

    def coarseness_holding(self, places: Places, count: int) -> Tensor:
        """The finest [Q] with which the point's own cell holds so many sources, or the whole cloud."""
        keys = self.keys_of(places)
        low, high = torch.zeros_like(keys), torch.full_like(keys, self.bits)
        for _ in range(self.bits.bit_length()):
            middle = (low + high) // 2
            shift = self.dim * middle
            begin, end = self._runs(keys >> shift, shift)
            holds = end - begin >= count
            low, high = torch.where(holds, low, (middle + 1).clamp(max=self.bits)), torch.where(holds, middle, high)
        return high

    def coarseness_reaching(self, places: Places, distance: Tensor) -> Tensor:
        """The finest [Q] whose windows hold all sources up to this distance [Q]."""
        coarser = torch.arange(self.bits + 1, device=distance.device).expand(len(distance), -1)
        return (self._reach(places.clouds[:, None], coarser) < distance[:, None]).sum(dim=1)

    def windows(self, places: Places, coarseness: Tensor, limit: Tensor) -> Windows:
        """The 3^D cells of this coarseness [Q] around each point, but for those beyond ‖x − y‖² = ``limit`` [Q]."""
        width = 1 << (self.bits - coarseness)
        steps = torch.arange(-1, 2, device=coarseness.device)
        own = places.cells >> coarseness[:, None]
        around = own[:, :, None] + steps
        inside = (around >= 0) & (around < width[:, None, None])
        spread = self._spread(torch.where(inside, around, 0))
        gaps = self._gaps(places, own, coarseness)
        cells = (places.clouds << self.dim * (self.bits - coarseness))[:, None]
        there, squared = places.known[:, None], torch.zeros_like(gaps[:, 0, :1])
        for axis in range(self.dim):
            cells = (cells[:, :, None] | spread[:, axis, None, :] << axis).flatten(1)
            there = (there[:, :, None] & inside[:, axis, None, :]).flatten(1)
            squared = (squared[:, :, None] + gaps[:, axis, None, :].square()).flatten(1)
        begins, ends = self._runs(cells, self.dim * coarseness[:, None])
        counts = torch.where(there & ~(squared > limit[:, None]), ends - begins, 0)
        whole = (coarseness == self.bits) | ~places.known
        return Windows(begins, counts, counts.sum(dim=1), self._reach(places.clouds, coarseness), whole)

    def candidates(self, points: Tensor, windows: Windows, rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """‖x − y‖² and index of all sources in the windows of these rows, [B, width] each, padded with infinity."""
        counts = windows.counts[rows]
        ends = counts.cumsum(dim=1)
        slots = torch.arange(width, device=rows.device).repeat(len(rows), 1)
        cells = torch.searchsorted(ends, slots, right=True).clamp(max=ends.shape[1] - 1)
        runs = (windows.begins[rows] - ends + counts).gather(1, cells) + slots
        padding = slots >= windows.totals[rows, None]
        sources = self.order[runs.masked_fill_(padding, 0)]
        squared = torch.zeros_like(sources, dtype=torch.float64)
        for axis, coordinates in enumerate(self.positions):
            difference = points[rows, axis, None] - coordinates[sources]
            squared += difference * difference
        return squared.masked_fill_(padding, torch.inf), sources

    def _cells(self, exact: Tensor, clouds: Tensor) -> Tensor:
        cells = (exact / 2 - self.corners[clouds]) / self.edges[clouds, None]
        return cells.floor().clamp(0, 2**self.bits - 1).to(torch.int64)

    def _keys(self, cells: Tensor, clouds: Tensor) -> Tensor:
        spread = self._spread(cells)
        keys = clouds << self.dim * self.bits
        for axis in range(self.dim):
            keys = keys | spread[:, axis] << axis
        return keys

    def _spread(self, cells: Tensor) -> Tensor:
        """Cell coordinates with D − 1 zeros between their bits."""
        spread = torch.zeros_like(cells)
        for bit in range(self.bits):
            spread |= (cells >> bit & 1) << bit * self.dim
        return spread

    def _runs(self, cells: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Where cells, numbered without their ``shift`` last bits, begin and end among the sorted sources."""
        return torch.searchsorted(self.keys, cells << shift), torch.searchsorted(self.keys, cells + 1 << shift)

    def _gaps(self, places: Places, own: Tensor, coarseness: Tensor) -> Tensor:
        """How far the cells before, at and behind a point's own begin from it along each axis [Q, D, 3], at least."""
        edge = (self.edges[places.clouds] * 2.0**coarseness)[:, None]
        # From the corner first: the border's own coordinate would be rounded, far from the origin by a whole cell.
        before = places.positions / 2 - self.corners[places.clouds] - own * edge
        sides = torch.stack([before, torch.zeros_like(before), edge - before], dim=2)
        return 2 * (sides - BORDER * edge[:, :, None]).clamp(min=0)

    def _reach(self, clouds: Tensor, coarseness: Tensor) -> Tensor:
        """A cell's edge, within which no source is outside of the window; infinite for the whole cloud."""
        edges = self.edges[clouds] * (2 * (1 - BORDER)) * 2.0**coarseness
        return torch.where(coarseness == self.bits, torch.inf, edges)

    def _copy_numbers(self) -> Tensor:
        places = self.positions[:, self.order]
        order = torch.arange(len(self.keys), device=self.keys.device)
        for values in (*places, self.keys):
            order = order[values[order].sort(stable=True)[1]]
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = (places[:, order].diff(dim=1) != 0).any(dim=0) | (self.keys[order].diff() != 0)
        number = torch.arange(len(order), device=order.device)
        copies = torch.empty_like(order)
        copies[order] = number - torch.where(first, number, 0).cummax(dim=0)[0]
        return copies


def _bounds(halves: Tensor, clouds: Tensor, num_clouds: int, end: str) -> Tensor:
    """The lowest or highest coordinates of each cloud [B, D]."""
    bounds = halves.new_zeros(num_clouds, halves.shape[1])
    if num_clouds == 1 and len(halves):  # without a race of all points for one number
        return (halves.amin if end == "amin" else halves.amax)(dim=0, keepdim=True)
    return bounds.scatter_reduce(0, clouds[:, None].expand_as(halves), halves, end, include_self=False)

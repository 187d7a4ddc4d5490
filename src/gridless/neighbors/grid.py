"""Search in cells, on the device of the sources: the same rows as the reference.

Short rows come out of one Triton kernel where Triton can run, all others out of torch operations. README.md in this
folder says why nothing is missed and when the host waits.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from gridless import gpu
from gridless.errors import UnsupportedError
from gridless.neighbors.cells import CellTable, Places
from gridless.neighbors.neighborhoods import Neighborhoods

#: A window has 3^D cells: with more dimensions they are too many.
LARGEST_DIM = 4

_QUERIES_PER_CHUNK = 1 << 17
# Longest rows that a program of the kernel holds in registers.
_LONGEST = 256

# Queries [B], the sources of their rows one row after the other, and how long each row is [B].
Part = tuple[Tensor, Tensor, Tensor]


class SearchGrid:
    """The sources [N, D] of all clouds sorted by cell, on their device; searched as often as wanted."""

    def __init__(self, function: str, source: Tensor, batch: Tensor | None) -> None:
        if (dim := source.shape[1]) > LARGEST_DIM:
            raise UnsupportedError(
                f"{function}: impl='grid' takes at most {LARGEST_DIM} dimensions, got {dim}; use impl='auto'"
            )
        self._table = CellTable.of(source, batch)

    def search(self, query: Tensor, k: int | None, radius: float | None, batch: Tensor | None) -> Neighborhoods:
        """Sources of each query by (‖x − y‖², index), at most k and none with ‖x − y‖² > radius²."""
        everyone = torch.arange(len(query), device=query.device)
        if len(self._table.keys) == 0:
            return Neighborhoods.from_counts(everyone[:0], torch.zeros_like(everyone))
        table = self._table if k is None else self._table.with_few_copies(k)
        if k is not None and scans_in_triton(query.device, k, len(table.keys)):
            return _scan(table, query, batch, k, radius)
        parts: list[Part] = [(everyone[:0],) * 3]
        for rows in everyone.split(_QUERIES_PER_CHUNK):
            parts += _rows_of(table, query, batch, rows, k, radius)
        done, found, counts = (torch.cat(column) for column in zip(*parts, strict=True))
        # Rows come in the order in which they were settled.
        return Neighborhoods.from_counts(found, counts).select_queries(done.argsort())


def scans_in_triton(device: torch.device, k: int, num_sources: int) -> bool:
    """Whether the kernel finds these rows: not in Triton's interpreter, which is slower than torch."""
    return device.type == "cuda" and not gpu.why_not_on(device) and k <= _LONGEST and num_sources < 2**30


def _scan(table: CellTable, query: Tensor, batch: Tensor | None, k: int, radius: float | None) -> Neighborhoods:
    scan = importlib.import_module("gridless.neighbors.triton_scan")  # needs Triton
    places = table.place(query, batch)
    coarseness = _first_coarseness(table, places, k, radius)
    return Neighborhoods.from_counts(*scan.nearest(table, places, coarseness, k, radius))


def _first_coarseness(table: CellTable, places: Places, k: int, radius: float | None) -> Tensor:
    if radius is not None:
        return table.coarseness_reaching(places, torch.full_like(places.positions[:, 0], radius))
    # A window holds the cell twice as wide around its own, and with it k sources: if they do not settle the row, they
    # tell how far the second, pruned window must reach.
    return (table.coarseness_holding(places, k) - 1).clamp(min=0)


def _rows_of(
    table: CellTable, query: Tensor, batch: Tensor | None, rows: Tensor, k: int | None, radius: float | None
) -> list[Part]:
    """The rows of some queries, in windows as fine as settles them."""
    places = table.place(query[rows], None if batch is None else batch[rows])
    limit = torch.full_like(places.positions[:, 0], torch.inf if radius is None else radius * radius)
    coarseness = _first_coarseness(table, places, k or 0, radius)
    parts = []
    while len(rows):
        windows = table.windows(places, coarseness, limit)
        examined = torch.ones_like(windows.whole)
        if radius is None:
            examined = windows.whole | (windows.totals >= (k or 0))
        pending, coarser = ~examined, coarseness + 1
        for block, width in windows.blocks(examined.nonzero()[:, 0]):
            squared, sources = _in_order(*table.candidates(places.positions, windows, block, width), k, radius)
            if radius is None:
                last = squared[:, -1] if squared.shape[1] == k else torch.full_like(limit[block], torch.inf)
                settled = windows.whole[block] | (last <= windows.reach[block].square())
                bounding = table.coarseness_reaching(places.select(block), last.sqrt())
                coarser[block] = torch.maximum(bounding, coarser[block])
                limit[block], pending[block] = last, ~settled
                block, squared, sources = block[settled], squared[settled], sources[settled]
            inside = squared.isfinite()
            parts.append((rows[block], sources[inside], inside.sum(dim=1)))
        left = pending.nonzero()[:, 0]
        rows, places, limit, coarseness = rows[left], places.select(left), limit[left], coarser[left]
    return parts


def _in_order(squared: Tensor, sources: Tensor, k: int | None, radius: float | None) -> tuple[Tensor, Tensor]:
    """Of each row [B, width] the first k by (squared, source), padded with infinity beyond the radius."""
    if radius is not None:
        squared = squared.masked_fill(squared > radius * radius, torch.inf)
    kept = squared.isfinite()
    if k is not None and k < squared.shape[1]:
        # With those that are as far as the k-th: which of them come first, only the sort below knows.
        kept &= squared <= squared.topk(k, largest=False)[0][:, -1:]
    longest = int(kept.sum(dim=1).max())
    squared, places = squared.topk(longest, largest=False, sorted=False)
    sources, order = sources.gather(1, places).sort(dim=1)
    squared, by_distance = squared.gather(1, order).sort(dim=1, stable=True)
    return squared[:, :k], sources.gather(1, by_distance)[:, :k]

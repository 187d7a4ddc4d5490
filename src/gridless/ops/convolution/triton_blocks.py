"""The pairs of a problem in blocks of whole rows, as large as what torch computes for a pair allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import Slots
from gridless.ops.rows import pair_rows, transposed_rows

# Numbers in one block's φ.
_BLOCK_NUMBERS = 2**22
# Slots of one block whose φ the kernels evaluate: about 60 bytes each, however wide φ is.
_BLOCK_SLOTS = 2**21


@dataclass(frozen=True)
class RowBlock(Slots):
    """Some rows with all of their slots.

    Args:
        rows: which.
        offsets: [B + 1] where the rows begin among the block's slots.
        columns: [S] sources where rows are queries, and the other way round.
        slot_rows: [S] row of each slot, counted from the block's first.
    """

    rows: slice
    offsets: Tensor
    columns: Tensor
    slot_rows: Tensor

    @property
    def num_rows(self) -> int:
        return self.rows.stop - self.rows.start


def blocks(problem: Problem, rows_are_queries: bool, phi_in_memory: bool) -> Iterator[RowBlock]:
    """All pairs of a problem, each once, by rows of queries or by rows of sources, as they lie."""
    num_pairs = problem.indices.numel()
    pair_queries = pair_rows(problem.offsets, num_pairs)
    if rows_are_queries:
        order, offsets = None, problem.offsets
    else:
        order, offsets = transposed_rows(problem.indices, problem.features.shape[0])
    max_slots = _BLOCK_NUMBERS // problem.weight.shape[0] if phi_in_memory else _BLOCK_SLOTS
    for rows, slots in _cut(offsets, num_pairs, max(1, max_slots)):
        if order is None:
            pairs = torch.arange(slots.start, slots.stop, device=offsets.device)
            sources, queries = problem.indices[slots], pair_queries[slots]
            own_rows, columns = queries, sources
        else:
            pairs = order[slots]
            sources, queries = problem.indices[pairs], pair_queries[pairs]
            own_rows, columns = sources, queries
        own_offsets = offsets[rows.start : rows.stop + 1] - slots.start
        yield RowBlock(pairs, sources, queries, rows, own_offsets, columns.contiguous(), own_rows - rows.start)


def _cut(offsets: Tensor, num_pairs: int, max_pairs: int) -> Iterator[tuple[slice, slice]]:
    """Rows and their slots in parts of at most ``max_pairs`` slots, or of one row; all at once asks the GPU nothing."""
    num_rows = offsets.numel() - 1
    if num_pairs == 0:
        return
    if num_pairs <= max_pairs:
        yield slice(0, num_rows), slice(0, num_pairs)
        return
    bounds = offsets.cpu()
    first = 0
    while first < num_rows:
        begin = int(bounds[first])
        last = max(first + 1, int(torch.searchsorted(bounds, begin + max_pairs, right=True)) - 1)
        if int(bounds[last]) > begin:
            yield slice(first, last), slice(begin, int(bounds[last]))
        first = last

"""The pairs of a problem by rows: all at once, or in blocks as large as what torch computes for a pair allows."""

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


@dataclass(frozen=True)
class Rows:
    """All rows, with all of their slots or those of one block.

    Args:
        offsets: [R + 1] where the rows begin among all slots.
        columns: [S] sources where rows are queries, and the other way round.
        pairs: [S] pair of each slot; None where slots are the pairs as they lie.
        first: the block's first slot among all.
    """

    offsets: Tensor
    columns: Tensor
    pairs: Tensor | None
    first: int = 0

    @property
    def num_rows(self) -> int:
        return self.offsets.numel() - 1

    @property
    def num_slots(self) -> int:
        return self.columns.numel()

    def slot_rows(self) -> Tensor:
        """[S] row of each slot."""
        slots = torch.arange(self.first, self.first + self.num_slots, device=self.offsets.device)
        return torch.searchsorted(self.offsets, slots, right=True) - 1


def whole(problem: Problem, rows_are_queries: bool) -> Rows:
    """All pairs of a problem by rows of queries or by rows of sources, as they lie."""
    if rows_are_queries:
        return Rows(problem.offsets.contiguous(), problem.indices.contiguous(), None)
    order, offsets = transposed_rows(problem.indices, problem.features.shape[0])
    return Rows(offsets, pair_rows(problem.offsets, problem.indices.numel())[order], order)


def blocks(problem: Problem, rows: Rows) -> Iterator[tuple[Rows, Slots]]:
    """The slots in blocks whose φ fits into the memory, with what φ depends on.

    Cut where the slots' number says, also within a row: where rows end only the device knows, and is not asked.
    """
    size = max(1, _BLOCK_NUMBERS // problem.weight.shape[0])
    for first in range(0, rows.num_slots, size):
        slots = slice(first, min(first + size, rows.num_slots))
        columns = rows.columns[slots]
        if rows.pairs is None:
            pairs = torch.arange(slots.start, slots.stop, device=columns.device)
        else:
            pairs = rows.pairs[slots]
        block = Rows(rows.offsets, columns, pairs, first)
        own = block.slot_rows()
        sources, queries = (columns, own) if rows.pairs is None else (own, columns)
        yield block, Slots(pairs, sources, queries)

"""The pairs of a problem in blocks of padded rows that fit into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import Slots
from gridless.ops.rows import check_rows, pair_rows, row_blocks, transposed_rows
from gridless.ops.workspace import BLOCK_ELEMENTS


@dataclass(frozen=True)
class Block(Slots):
    """B rows with the sources and queries of their pairs, padded to L a row and flattened to S = B · L slots.

    Args:
        rows: the rows, a slice where they are consecutive.
        shape: (B, L).
        columns: [S] sources where rows are queries, and the other way round.
        padding: [S] True where a slot repeats the row's last pair only to fill it up; None where none does.
    """

    rows: Tensor | slice
    shape: tuple[int, int]
    columns: Tensor
    padding: Tensor | None

    def mask(self, values: Tensor) -> Tensor:
        """``values`` [S, H] with zeros in padding slots."""
        return values if self.padding is None else values.masked_fill(self.padding[:, None], 0.0)


def blocks(problem: Problem, rows_are_queries: bool) -> Iterator[Block]:
    """All pairs of a problem, each once, by rows of queries or by rows of sources."""
    check_rows("continuous_conv", problem.indices, problem.offsets, len(problem.features))
    width = problem.weight.shape[0]
    col_channels = problem.weight.shape[1] if rows_are_queries else problem.weight.shape[-1]
    max_rows = max(1, BLOCK_ELEMENTS // (width * (1 if problem.depthwise else col_channels)))
    max_pairs = max(1, BLOCK_ELEMENTS // max(width, col_channels))
    if rows_are_queries:
        offsets = problem.offsets
    else:
        order, offsets = transposed_rows(problem.indices, problem.features.shape[0])
        pair_queries = pair_rows(problem.offsets, problem.indices.numel())
    for block in row_blocks(offsets, max_pairs, max_rows):
        num_rows, length = block.pairs.shape
        if isinstance(block.rows, slice):
            rows = torch.arange(block.rows.start, block.rows.stop, device=offsets.device)
        else:
            rows = block.rows
        row_of_slot = rows.repeat_interleave(length)
        slots = block.pairs.reshape(-1)
        if rows_are_queries:
            pairs, columns = slots, problem.indices[slots]
            sources, queries = columns, row_of_slot
        else:
            pairs = order[slots]
            columns = pair_queries[pairs]
            sources, queries = row_of_slot, columns
        padding = None if block.padding is None else block.padding.reshape(-1)
        yield Block(pairs, sources, queries, block.rows, (num_rows, length), columns, padding)

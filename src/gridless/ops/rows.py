"""Walking through compressed rows in blocks: the irregular part that every operator shares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.arguments import check_indices


@dataclass(frozen=True)
class RowBlock:
    """Some rows of about equal length, padded to the longest of them.

    Args:
        rows: [B] int64, which rows, or a slice where they are consecutive.
        pairs: [B, L] int64, pair of each slot; a slot past the end of its row repeats the row's last pair, so that
            whatever is read there belongs to the row itself.
        padding: [B, L] bool, True where a slot is past the end; None where there is none.
    """

    rows: Tensor | slice
    pairs: Tensor
    padding: Tensor | None


def check_rows(function: str, indices: Tensor, offsets: Tensor, num_sources: int) -> None:
    """Raise ValueError, naming the function, for rows that do not cover all pairs in order or name absent sources.

    On a GPU nothing is checked, since the check would wait for it.
    """
    if offsets.device.type != "cpu":
        return
    if int(offsets[0]) != 0 or int(offsets[-1]) != indices.numel() or bool((offsets.diff() < 0).any()):
        raise ValueError(f"{function}: offsets must ascend from 0 to the number of pairs, {indices.numel()}")
    check_indices(function, "indices", indices, num_sources)


def row_blocks(offsets: Tensor, max_pairs: int, max_rows: int) -> Iterator[RowBlock]:
    """Cut all non-empty rows into blocks of at most ``max_rows`` rows and about ``max_pairs`` slots.

    Rows of one length (k nearest neighbors) are taken as they lie. Ragged rows are taken longest first, so that
    rows in one block are about equally long and little is padded. Every non-empty row comes exactly once.

    Args:
        offsets: [M + 1] int64 row starts.
        max_pairs: slots in a block; a single longer row still makes a block of its own.
        max_rows: rows in a block.
    """
    counts = offsets.diff()
    num_rows = counts.numel()
    if num_rows == 0:
        return
    longest = int(counts.max())
    if longest == 0:
        return
    if int(counts.min()) == longest:
        step = max(1, min(max_rows, max_pairs // longest))
        pairs = torch.arange(num_rows * longest, device=offsets.device).view(num_rows, longest)
        for start in range(0, num_rows, step):
            rows = slice(start, min(start + step, num_rows))
            yield RowBlock(rows, pairs[rows], None)
        return
    order = torch.argsort(counts, descending=True, stable=True)
    order = order[: int((counts > 0).sum())]
    lengths = counts[order]
    start = 0
    while start < order.numel():
        length = int(lengths[start])
        rows_in_block = order[start : start + max(1, min(max_rows, max_pairs // length))]
        slots = torch.arange(length, device=offsets.device)
        last = (counts[rows_in_block] - 1)[:, None]
        pairs = offsets[rows_in_block][:, None] + torch.minimum(slots, last)
        padding = slots > last
        yield RowBlock(rows_in_block, pairs, padding if bool(padding.any()) else None)
        start += rows_in_block.numel()


def transposed_rows(indices: Tensor, num_sources: int) -> tuple[Tensor, Tensor]:
    """Pairs sorted by source: (permutation [E], row starts [N + 1]); the order of queries within a source is kept."""
    sources, order = indices.sort(stable=True)
    # Not counts of the sources: torch.bincount waits for a GPU.
    return order, torch.searchsorted(sources, torch.arange(num_sources + 1, device=indices.device))


def pair_rows(offsets: Tensor, num_pairs: int) -> Tensor:
    """Row of each pair [E]."""
    rows = torch.arange(offsets.numel() - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=num_pairs)

"""The nearest sources of each query out of sorted cells, in one Triton kernel: windows grow until a row is settled.

The rows are those of ``grid``, number by number: distances in float64, added axis by axis without fused
roundings, equal ones in the order of the source indices.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gridless.neighbors.cells import BORDER, CellTable, Places

# Entries of all lists of a program: more spill.
_ENTRIES = 1024
_MOST_QUERIES = 32
# One warp, so that no query waits for others than its neighbors; fused roundings would give other distances.
_LAUNCH = {"num_warps": 1, "enable_fp_fusion": False}


@triton.jit
def _first_at_least(keys, num_keys, wanted, STEPS: tl.constexpr):
    """How many of the sorted keys are less than each wanted one."""
    low = tl.zeros(wanted.shape, tl.int64)
    high = low + num_keys
    for _ in range(STEPS):
        middle = (low + high) // 2
        less = tl.load(keys + middle, middle < high, 0) < wanted
        low = tl.where((middle < high) & less, middle + 1, low)
        high = tl.where((middle < high) & (less == 0), middle, high)
    return low


@triton.jit
def _stepped(dilated, mask, unit, step):
    """Bits of one coordinate among those of others, ``step`` (−1, 0 or 1) cells farther."""
    up = ((dilated | ~mask) + unit) & mask
    down = (dilated - unit) & mask
    return tl.where(step > 0, up, tl.where(step < 0, down, dilated))


@triton.jit
def nearest_kernel(
    keys, sources, coordinates, masks, order, query_keys, points, clouds, known, cells, corners, edges, coarsenesses,
    limits, found, counts, num_keys, num_queries, bits, k,
    BORDER: tl.constexpr, DIM: tl.constexpr, LIST: tl.constexpr, QUERIES: tl.constexpr, STEPS: tl.constexpr,
    BALL: tl.constexpr,
):  # fmt: skip
    """The k nearest sources of QUERIES queries, for a ball those within it; found [M, k], of which counts [M] hold."""
    place = tl.program_id(0).to(tl.int64) * QUERIES + tl.arange(0, QUERIES)
    inside = place < num_queries
    query = tl.load(order + place, inside, 0)
    cloud = tl.load(clouds + query, inside, 0)
    key = tl.load(query_keys + query, inside, 0)
    finest_edge = tl.load(edges + cloud, inside, 1.0)
    coarseness = tl.load(coarsenesses + query, inside, 0)
    pending = inside & (tl.load(known + query, inside, 0) != 0)
    entry = tl.arange(0, LIST)[:, None]
    # Entries that are not asked for are never the farthest; those that wait differ in their number, and come last.
    waiting = tl.where(entry < k, float("inf"), float("-inf")).to(tl.float64) + tl.zeros((1, QUERIES), tl.float64)
    nobody = (0x7FFFFFFF - LIST + entry + tl.zeros((1, QUERIES), tl.int32)).to(tl.int32)
    distances, numbers = waiting, nobody
    farthest_squared = tl.load(limits)
    limit = tl.zeros((QUERIES,), tl.float64) + farthest_squared
    while tl.max(pending.to(tl.int32), 0) > 0:
        distances = tl.where(pending[None, :], waiting, distances)
        numbers = tl.where(pending[None, :], nobody, numbers)
        edge = finest_edge * (tl.full((QUERIES,), 1, tl.int64) << coarseness).to(tl.float64)
        cells_wide = tl.full((QUERIES,), 1, tl.int64) << (bits - coarseness)
        worst = tl.max(distances, 0)
        last = tl.max(tl.where(distances == worst[None, :], numbers, -1), 0)
        for window in range(3**DIM):
            cell = cloud << (DIM * (bits - coarseness))
            there = pending
            gap = tl.zeros((QUERIES,), tl.float64)
            digits = window
            for axis in tl.static_range(DIM):
                step = digits % 3 - 1
                digits = digits // 3
                own = tl.load(cells + query * DIM + axis, inside, 0) >> coarseness
                there = there & (own + step >= 0) & (own + step < cells_wide)
                mask = tl.load(masks + axis)
                cell |= _stepped((key >> (DIM * coarseness)) & mask, mask, 1 << axis, step)
                x = tl.load(points + query * DIM + axis, inside, 0.0)
                # From the corner first: the border's own coordinate would be rounded.
                before = x / 2 - tl.load(corners + cloud * DIM + axis, inside, 0.0) - own.to(tl.float64) * edge
                side = tl.where(step < 0, before, tl.where(step > 0, edge - before, 0.0))
                side = 2 * tl.maximum(side - BORDER * edge, 0.0)
                gap += side * side
            there = there & (gap <= limit)
            if tl.max(there.to(tl.int32), 0) > 0:
                begin = _first_at_least(keys, num_keys, cell << (DIM * coarseness), STEPS)
                end = _first_at_least(keys, num_keys, (cell + 1) << (DIM * coarseness), STEPS)
                length = tl.where(there, end - begin, 0)
                for candidate in range(tl.max(length, 0)):
                    exists = candidate < length
                    squared = tl.zeros((QUERIES,), tl.float64)
                    for axis in tl.static_range(DIM):
                        x = tl.load(points + query * DIM + axis, inside, 0.0)
                        y = tl.load(coordinates + axis * num_keys + begin + candidate, exists, 0.0)
                        squared += (x - y) * (x - y)
                    exists = exists & (squared <= farthest_squared) & (squared <= worst) & (squared < float("inf"))
                    number = tl.load(sources + begin + candidate, exists, 0)
                    closer = exists & ((squared < worst) | (number < last))
                    if tl.max(closer.to(tl.int32), 0) > 0:
                        replaced = closer[None, :] & (distances == worst[None, :]) & (numbers == last[None, :])
                        distances = tl.where(replaced, squared[None, :], distances)
                        numbers = tl.where(replaced, number[None, :], numbers)
                        worst = tl.max(distances, 0)
                        last = tl.max(tl.where(distances == worst[None, :], numbers, -1), 0)
        if BALL:
            pending = pending & (inside == 0)
        else:
            full = worst < float("inf")
            reach = edge * (2 * (1 - BORDER))
            settled = (coarseness == bits) | (worst <= reach * reach)
            pending = pending & (settled == 0)
            limit = tl.where(full, worst, float("inf"))
            coarseness = tl.where(pending, coarseness + 1, coarseness)
            for _ in range(bits):
                reach = (
                    finest_edge * (tl.full((QUERIES,), 1, tl.int64) << coarseness).to(tl.float64) * (2 * (1 - BORDER))
                )
                short = pending & full & (coarseness < bits) & (reach * reach < worst)
                coarseness = tl.where(short, coarseness + 1, coarseness)
    rank = tl.zeros((LIST, QUERIES), tl.int32)
    for other in range(k):
        distance = tl.max(tl.where(entry == other, distances, float("-inf")), 0)[None, :]
        number = tl.max(tl.where(entry == other, numbers, -1), 0)[None, :]
        rank += ((distance < distances) | ((distance == distances) & (number < numbers))).to(tl.int32)
    listed = inside[None, :] & (entry < k)
    tl.store(found + query[None, :] * k + rank, numbers.to(tl.int64), listed)
    held = listed & (distances < float("inf"))
    tl.store(counts + query, tl.sum(held.to(tl.int64), 0), inside)


def nearest(
    table: CellTable, places: Places, coarseness: Tensor, k: int, radius: float | None
) -> tuple[Tensor, Tensor]:
    """The rows of all queries one after the other, and how long each is [M].

    Args:
        table: the sources.
        places: where the M queries lie.
        coarseness: [M] of the cells to begin with; for a ball one whose windows hold all of it.
        k: length of a row at most; it is held in registers.
        radius: none farther; None for no bound.
    """
    num_queries, device = len(coarseness), coarseness.device
    found = torch.empty(num_queries, k, dtype=torch.int64, device=device)
    counts = torch.zeros(num_queries, dtype=torch.int64, device=device)
    dim, limit = table.dim, math.inf if radius is None else radius * radius
    masks = torch.tensor([sum(1 << bit * dim + axis for bit in range(table.bits)) for axis in range(dim)])
    query_keys = table.keys_of(places)
    own_keys = query_keys & ((1 << dim * table.bits) - 1)
    length = triton.next_power_of_2(k)
    queries = min(_MOST_QUERIES, _ENTRIES // length)
    options: dict[str, Any] = {"DIM": dim, "LIST": length, "QUERIES": queries, **_LAUNCH}
    with torch.cuda.device_of(found):
        nearest_kernel[(triton.cdiv(num_queries, queries),)](
            table.keys, table.order.to(torch.int32), table.positions[:, table.order].contiguous(),
            masks.to(device, non_blocking=True), query_keys.argsort(), own_keys, places.positions.contiguous(),
            places.clouds, places.known.to(torch.int8), places.cells.contiguous(), table.corners.contiguous(),
            table.edges, coarseness,
            torch.full((1,), limit, dtype=torch.float64, device=device),
            found, counts, len(table.keys), num_queries, table.bits, k,
            BORDER=BORDER, STEPS=len(table.keys).bit_length(), BALL=radius is not None, **options,
        )  # fmt: skip
    return found[torch.arange(k, device=device) < counts[:, None]], counts

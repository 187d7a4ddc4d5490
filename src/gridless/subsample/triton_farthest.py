"""Farthest points in one Triton kernel, a program a cloud: no launch and no question to the host for each point."""

from __future__ import annotations

from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048
# Fused roundings would give other distances than the reference.
_LAUNCH = {"num_warps": 8, "enable_fp_fusion": False}


@triton.jit
def farthest_kernel(
    axes, begins, chosen_begins, nearest, chosen, num_points, start, DIM: tl.constexpr, BLOCK: tl.constexpr
):
    """The points of one cloud in the order of their selection, as places among the points [D, N] of all clouds."""
    begin, end = tl.load(begins + tl.program_id(0)), tl.load(begins + tl.program_id(0) + 1)
    first, last = tl.load(chosen_begins + tl.program_id(0)), tl.load(chosen_begins + tl.program_id(0) + 1)
    current = tl.minimum(begin + start, end - 1)
    for place in range(first, last):
        tl.store(chosen + place, current)
        farthest = tl.full((BLOCK,), -2.0, nearest.dtype.element_ty)
        own = tl.zeros((BLOCK,), tl.int64)
        for block in range(begin, end, BLOCK):
            point = block + tl.arange(0, BLOCK)
            inside = point < end
            squared = tl.zeros((BLOCK,), nearest.dtype.element_ty)
            for axis in tl.static_range(DIM):
                x = tl.load(axes + axis * num_points + point, inside, 0.0)
                difference = x - tl.load(axes + axis * num_points + current)
                squared += difference * difference
            # NaN is the difference of two distances beyond all numbers.
            before = tl.load(nearest + point, inside, -2.0)
            now = tl.minimum(before, tl.where(squared == squared, squared, float("inf")))
            # Copies have distance 0 and may still be chosen; the point itself may not.
            now = tl.where(point == current, -1.0, now)
            tl.store(nearest + point, now, inside)
            farther = now > farthest
            farthest, own = tl.where(farther, now, farthest), tl.where(farther, point, own)
        greatest = tl.max(farthest, 0)
        current = tl.min(tl.where(farthest == greatest, own, end), 0)


def farthest_points(
    positions: Tensor, order: Tensor | None, counts: list[int], wanted: list[int], start: int
) -> Tensor:
    """As :func:`gridless.subsample.reference.farthest_points`."""
    members = torch.arange(len(positions), device=positions.device) if order is None else order
    begins, chosen_begins = (
        torch.tensor([0, *accumulate(lengths)], device=positions.device) for lengths in (counts, wanted)
    )
    chosen = torch.zeros(sum(wanted), dtype=torch.int64, device=positions.device)
    if len(chosen) == 0:
        return chosen
    wide = positions.to(torch.promote_types(positions.dtype, torch.float32))[members]
    # Relative to each cloud's first point, before any rounding to float32.
    cloud_of = torch.searchsorted(begins, torch.arange(len(wide), device=wide.device), right=True) - 1
    axes = (wide - wide[begins[cloud_of]]).T.contiguous()
    nearest = torch.full_like(axes[0], torch.inf)
    with torch.cuda.device_of(axes):
        farthest_kernel[(len(counts),)](
            axes, begins, chosen_begins, nearest, chosen, len(wide), start, DIM=len(axes), BLOCK=_BLOCK, **_LAUNCH
        )
    return members[chosen]

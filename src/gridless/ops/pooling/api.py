"""Pooling over supports: the largest or the mean feature of each row's sources."""

from __future__ import annotations

import torch
from torch import Tensor

from gridless import native
from gridless.ops import pair_loop
from gridless.ops.operands import check_operands
from gridless.ops.registration import operator
from gridless.ops.rows import row_blocks
from gridless.ops.weighted_sum import weighted_sum

_MAX_SLOT_CHANNELS = 2**20


@operator("argmax_over_support")
def _argmax_over_support(features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Source of the largest value of each row and channel [M, C]; 0 for empty rows."""
    if native.runs_on(features):
        return pair_loop.largest_of_rows(features, indices, offsets)
    largest = torch.zeros(offsets.numel() - 1, features.shape[1], dtype=torch.int64, device=indices.device)
    max_slots = max(1, _MAX_SLOT_CHANNELS // max(1, features.shape[1]))
    for block in row_blocks(offsets, max_pairs=max_slots, max_rows=max_slots):
        sources = indices[block.pairs]
        place = features[sources].argmax(dim=1)
        largest[block.rows] = sources.gather(1, place)
    return largest


@_argmax_over_support.register_fake
def _(features, indices, offsets):  # type: ignore[no-untyped-def]
    return indices.new_empty(offsets.shape[0] - 1, features.shape[1])


def pool(features: Tensor, indices: Tensor, offsets: Tensor, reduce: str = "max") -> Tensor:
    """Pooling over the support domain: out_ic = max_{j in N(i)} f_jc, or (1/|N(i)|) Σ_{j in N(i)} f_jc.

    Args:
        features: [N, C] floating point.
        indices: [E] int64, source of each pair.
        offsets: [M + 1] int64, row starts.
        reduce: "max" (the gradient goes to one of equal values) or "mean".

    Returns:
        [M, C]; zeros for empty supports.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a shape that does not fit, or ``reduce`` is neither.

    Example:
        >>> features = torch.tensor([[1.0], [5.0], [3.0]])
        >>> pool(features, torch.tensor([0, 1, 2]), torch.tensor([0, 2, 3]), "max").tolist()
        [[5.0], [3.0]]
    """
    check_operands("pool", indices, offsets, features=features)
    counts = offsets.diff()
    if reduce == "mean":
        weights = counts.clamp_min(1).to(torch.promote_types(features.dtype, torch.float32)).reciprocal()
        pair_weights = torch.repeat_interleave(weights, counts, output_size=indices.shape[0])
        return weighted_sum(features, pair_weights, indices, offsets)
    if reduce != "max":
        raise ValueError(f"pool: reduce must be 'max' or 'mean', got {reduce!r}")
    if features.shape[0] == 0:
        return features.new_zeros(counts.shape[0], features.shape[1])
    largest = _argmax_over_support(features.detach(), indices, offsets)
    return torch.where((counts > 0)[:, None], features.gather(0, largest), 0)

"""Weighted sums over compressed rows: the pair primitive at width one.

    S(w, f)_ic = Σ_e w_e f_{j(e)c} ,   D(g, f)_e = Σ_c g_{i(e)c} f_{j(e)c} ,   T(w, g)_jc = Σ_e w_e g_{i(e)c}

Each one's derivatives are the other two, so three operators give derivatives of any order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gridless import native
from gridless.ops import pair_loop
from gridless.ops.registration import needs_of_arguments, operator
from gridless.ops.rows import pair_rows, row_blocks, transposed_rows

_MAX_SLOT_CHANNELS = 2**20


def _bag_sum(values: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Σ of weights times ``values[indices]`` over each row, in float32 or wider: bfloat16 weights are coarse."""
    if values.shape[1] == 0:  # torch's bag has no sums of no channels
        return values.new_zeros(offsets.numel() - 1, 0)
    wide = torch.promote_types(values.dtype, torch.float32)
    sums = functional.embedding_bag(
        indices,
        values.to(wide).contiguous(),
        offsets,
        mode="sum",
        include_last_offset=True,
        per_sample_weights=weights.to(wide),
    )
    return sums.to(values.dtype)


@operator("weighted_sum")
def weighted_sum(features: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """S: sum of weights [E] times features [N, C] over each row, [M, C]; empty rows give zeros.

    Example:
        >>> features, weights = torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 4.0])
        >>> weighted_sum(features, weights, torch.tensor([0, 1]), torch.tensor([0, 2, 2])).tolist()
        [[11.0], [0.0]]
    """
    if indices.numel() == 0:
        return features.new_zeros(offsets.numel() - 1, features.shape[1])
    if native.runs_on(features):
        return pair_loop.sum_over_rows(features, weights, indices, offsets).to(features.dtype)
    return _bag_sum(features, weights, indices, offsets)


@weighted_sum.register_fake
def _(features, weights, indices, offsets):  # type: ignore[no-untyped-def]
    return features.new_empty(offsets.shape[0] - 1, features.shape[1])


@operator("weighted_scatter")
def weighted_scatter(grad_rows: Tensor, weights: Tensor, indices: Tensor, offsets: Tensor, num_sources: int) -> Tensor:
    """T: the transpose of S, rows [M, C] back to sources [N, C], in the order of pairs and so reproducible."""
    if indices.numel() == 0:
        return grad_rows.new_zeros(num_sources, grad_rows.shape[1])
    if native.runs_on(grad_rows):
        return pair_loop.sum_over_sources(grad_rows, weights, indices, offsets, num_sources).to(grad_rows.dtype)
    order, source_offsets = transposed_rows(indices, num_sources)
    queries = pair_rows(offsets, indices.numel())[order]
    return _bag_sum(grad_rows, weights[order], queries, source_offsets)


@weighted_scatter.register_fake
def _(grad_rows, weights, indices, offsets, num_sources):  # type: ignore[no-untyped-def]
    return grad_rows.new_empty(num_sources, grad_rows.shape[1])


@operator("pair_dots")
def pair_dots(rows: Tensor, features: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """D: inner product of a pair's row [M, C] and source [N, C], [E]."""
    if indices.numel() and native.runs_on(features):
        return pair_loop.dots_of_pairs(rows, features, indices, offsets).to(features.dtype)
    dots = features.new_zeros(indices.numel())
    max_slots = max(1, _MAX_SLOT_CHANNELS // max(1, features.shape[1]))
    for block in row_blocks(offsets, max_pairs=max_slots, max_rows=max_slots):
        products = features[indices[block.pairs]] @ rows[block.rows][:, :, None]
        # Padding slots repeat a row's last pair and write its value once more.
        dots[block.pairs] = products[:, :, 0]
    return dots


@pair_dots.register_fake
def _(rows, features, indices, offsets):  # type: ignore[no-untyped-def]
    return features.new_empty(indices.shape[0])


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    features, weights, indices, offsets = ctx.saved_tensors
    needs_features, needs_weights, *_ = needs_of_arguments(ctx)
    # The scatter sorts all pairs: not worth doing for a gradient that nobody wants.
    grad_features = weighted_scatter(grad, weights, indices, offsets, features.shape[0]) if needs_features else None
    grad_weights = pair_dots(grad, features, indices, offsets).to(weights.dtype) if needs_weights else None
    return grad_features, grad_weights, None, None


def _save_scatter(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _scatter_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_rows, weights, indices, offsets = ctx.saved_tensors
    grad_weights = pair_dots(grad_rows, grad, indices, offsets).to(weights.dtype)
    return weighted_sum(grad, weights, indices, offsets), grad_weights, None, None, None


def _dots_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    rows, features, indices, offsets = ctx.saved_tensors
    grad_features = weighted_scatter(rows, grad, indices, offsets, features.shape[0])
    return weighted_sum(features, grad, indices, offsets), grad_features, None, None


weighted_sum.register_autograd(_sum_backward, setup_context=_save_inputs)
weighted_scatter.register_autograd(_scatter_backward, setup_context=_save_scatter)
pair_dots.register_autograd(_dots_backward, setup_context=_save_inputs)

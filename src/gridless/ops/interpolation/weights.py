"""Weights of inverse-distance interpolation.

    u_e = |x_{i(e)} - y_{j(e)}|^-p ,   w_e = u_e / Σ_k u_k  over the pairs k of row i(e)

and, with s_e the squared distance and g_e = ∂w_e,

    ∂s_e = -p/2 · w_e / s_e · (g_e - Σ_k w_k g_k)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gridless import native
from gridless.ops.dtypes import widened
from gridless.ops.registration import needs_of_arguments, operator
from gridless.ops.rows import pair_rows


@operator("inverse_distance_weights")
def inverse_distance_weights(
    source_positions: Tensor, query_positions: Tensor, indices: Tensor, offsets: Tensor, power: float
) -> Tensor:
    """w [E], in float32 or wider: |x_i - y_j|^-power of each pair over the sum of its row.

    Beside a source that the query sits on, the others have no weight.

    Example:
        >>> rows = torch.tensor([0, 1]), torch.tensor([0, 2])
        >>> inverse_distance_weights(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0]]), *rows, 1.0)
        tensor([0.3333, 0.6667])
    """
    sources, queries = _in_one_dtype(source_positions, query_positions)
    if not native.runs_on(sources):
        return _weights(sources, queries, indices, offsets, power)
    weights = sources.new_empty(indices.shape[0])
    arrays = [native.handed(tensor.contiguous()) for tensor in (sources, queries, indices, offsets)]
    native.extension().inverse_distance_weights(*arrays, power, native.handed(weights), torch.get_num_threads())
    return weights


@inverse_distance_weights.register_fake
def _(source_positions, query_positions, indices, offsets, power):  # type: ignore[no-untyped-def]
    return _in_one_dtype(source_positions, query_positions)[0].new_empty(indices.shape[0])


def _in_one_dtype(source_positions: Tensor, query_positions: Tensor) -> tuple[Tensor, Tensor]:
    sources, queries = widened(source_positions), widened(query_positions)
    dtype = torch.promote_types(sources.dtype, queries.dtype)
    return sources.to(dtype), queries.to(dtype)


def _offsets_of_pairs(sources: Tensor, queries: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    return queries.index_select(0, rows) - sources.index_select(0, indices)


def _weights(sources: Tensor, queries: Tensor, indices: Tensor, offsets: Tensor, power: float) -> Tensor:
    """The same in torch's operations, rule by rule as in the compiled loop."""
    rows, num_rows = pair_rows(offsets, indices.shape[0]), queries.shape[0]
    squared = _offsets_of_pairs(sources, queries, indices, rows).square().sum(dim=1)
    # Relative to the row's nearest source, so that no power of a distance overflows or vanishes.
    nearest = squared.new_full((num_rows,), torch.inf).scatter_reduce(0, rows, squared, "amin").index_select(0, rows)
    smallest = torch.finfo(squared.dtype).tiny
    weights = (squared.clamp_min(smallest) / nearest.clamp_min(smallest)).pow(-0.5 * power)
    # Beside a source that the query sits on, the others have no weight. Nor may one be a denormal number, which changes
    # no sum, but products with such sums take a hundred times as long.
    without = (weights < torch.finfo(weights.dtype).eps ** 2) | ((nearest == 0) & (squared > 0))
    weights = weights.masked_fill(without, 0.0)
    return weights / weights.new_zeros(num_rows).index_add(0, rows, weights).index_select(0, rows)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    source_positions, query_positions, indices, offsets, ctx.power = inputs
    ctx.save_for_backward(source_positions, query_positions, indices, offsets, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    source_positions, query_positions, indices, offsets, weights = ctx.saved_tensors
    sources, queries = _in_one_dtype(source_positions, query_positions)
    rows = pair_rows(offsets, indices.shape[0])
    between = _offsets_of_pairs(sources, queries, indices, rows)
    squared = between.square().sum(dim=1)
    mean = weights.new_zeros(queries.shape[0]).index_add(0, rows, weights * grad)
    # On a source a weight does not depend on where exactly. z / |z|² is at most 1 / |z|, where 1 / |z|² may overflow.
    apart = squared >= torch.finfo(squared.dtype).tiny
    direction = between / torch.where(apart, squared, torch.inf)[:, None]
    grad_between = (-ctx.power * weights * (grad - mean.index_select(0, rows)))[:, None] * direction
    needs_sources, needs_queries, *_ = needs_of_arguments(ctx)
    grad_sources = torch.zeros_like(sources).index_add(0, indices, -grad_between) if needs_sources else None
    grad_queries = torch.zeros_like(queries).index_add(0, rows, grad_between) if needs_queries else None
    return (
        None if grad_sources is None else grad_sources.to(source_positions.dtype),
        None if grad_queries is None else grad_queries.to(query_positions.dtype),
        None,
        None,
        None,
    )


inverse_distance_weights.register_autograd(_backward, setup_context=_save)

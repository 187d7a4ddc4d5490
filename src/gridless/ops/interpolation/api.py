"""Inverse-distance interpolation from the sources of each row to its query."""

from __future__ import annotations

import torch
from torch import Tensor

from gridless.ops.dtypes import widened
from gridless.ops.operands import check_operands
from gridless.ops.rows import pair_rows
from gridless.ops.weighted_sum import weighted_sum


def interpolate(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    power: float = 2.0,
) -> Tensor:
    """Inverse-distance weighting: out_i = Σ_j w_ij f_j / Σ_j w_ij with w_ij = |x_i - y_j|^-power.

    Args:
        features: [N, C] floating point.
        source_positions: [N, D].
        query_positions: [M, D].
        indices: [E] int64, source of each pair.
        offsets: [M + 1] int64, row starts.
        power: how fast the weight falls with the distance.

    Returns:
        [M, C]; zeros for empty supports. A query that sits on a source takes that source's value.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: shapes that do not belong together.

    Example:
        >>> f, y, x = torch.tensor([[0.0], [6.0]]), torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]])
        >>> interpolate(f, y, x, torch.tensor([0, 1]), torch.tensor([0, 2]), power=1.0).tolist()
        [[2.0]]
    """
    check_operands(
        "interpolate",
        indices,
        offsets,
        features=features,
        source_positions=source_positions,
        query_positions=query_positions,
    )
    num_rows = query_positions.shape[0]
    rows = pair_rows(offsets, indices.shape[0])
    sources, queries = widened(source_positions), widened(query_positions)
    offsets_of_pairs = queries.index_select(0, rows) - sources.index_select(0, indices)
    squared = offsets_of_pairs.square().sum(dim=1)
    # Relative to the row's nearest source, so that no power of a distance overflows or vanishes. The quotient of
    # weights does not depend on it, so it needs no gradient.
    nearest = squared.new_full((num_rows,), torch.inf).scatter_reduce(0, rows, squared.detach(), "amin")
    smallest = torch.finfo(squared.dtype).tiny
    nearest = nearest.index_select(0, rows)
    relative = squared.clamp_min(smallest) / nearest.clamp_min(smallest)
    weights = relative.pow(-0.5 * power)
    # Beside a source that the query sits on, the others have no weight. Nor may it be a denormal number, which
    # changes no sum, but products with such sums take a hundred times as long.
    without = (weights < torch.finfo(weights.dtype).eps ** 2) | ((nearest == 0) & (squared > 0))
    weights = weights.masked_fill(without, 0.0)
    totals = weights.new_zeros(num_rows).index_add(0, rows, weights)
    return weighted_sum(features, weights / totals.index_select(0, rows), indices, offsets)

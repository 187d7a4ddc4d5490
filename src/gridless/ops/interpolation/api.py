"""Inverse-distance interpolation from the sources of each row to its query."""

from __future__ import annotations

from torch import Tensor

from gridless.ops.interpolation.weights import inverse_distance_weights
from gridless.ops.operands import check_operands
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
        TypeError: a tensor of the wrong dtype, or power is to have a gradient.
        ValueError: shapes that do not belong together.

    Example:
        >>> import torch
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
    if isinstance(power, Tensor) and power.requires_grad:
        raise TypeError("interpolate: power is a number and has no gradient, got a tensor that requires one")
    weights = inverse_distance_weights(source_positions, query_positions, indices, offsets, power)
    return weighted_sum(features, weights, indices, offsets)

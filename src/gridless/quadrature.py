"""Weights w_j for which Σ_j w_j f(y_j) is the integral of f: what ``source_weights`` takes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gridless.arguments import check_positions


def trapezoid_weights(times: Tensor) -> Tensor:
    """Weights of the trapezoidal rule on an irregular series: half of the way to both neighbors in time.

    w_j = (t_{j+1} − t_{j−1}) / 2, one-sided at the ends; the error falls with the square of the spacing.

    Args:
        times: [N] floating point, in any order.

    Returns:
        [N] in the dtype and unit of ``times``; their sum is the length of the series.

    Raises:
        TypeError: times are not floating point.
        ValueError: times are not [N], or a time is NaN or infinite.

    Source:
        Davis and Rabinowitz, "Methods of Numerical Integration", 2nd edition, 1984, section 2.1.

    Example:
        >>> trapezoid_weights(torch.tensor([0.0, 1.0, 3.0])).tolist()
        [0.5, 1.5, 1.0]
    """
    if times.ndim != 1:
        raise ValueError(f"trapezoid_weights: times must be [N], got shape {tuple(times.shape)}")
    check_positions("trapezoid_weights", "times", times[:, None])
    ordered, order = times.sort(stable=True)
    half = ordered.diff() / 2
    weights = torch.cat([half, half.new_zeros(min(1, len(times)))]) + torch.cat(
        [half.new_zeros(min(1, len(times))), half]
    )
    return torch.empty_like(weights).index_copy(0, order, weights)


def vertex_areas(positions: Tensor, triangles: Tensor) -> Tensor:
    """Area of each vertex of a triangle mesh: a third of each triangle around it.

    w_j = Σ_{T ∋ j} |T| / 3, the exact integral of functions that are linear on each triangle; the error of smooth
    functions falls with the square of the edge length.

    Args:
        positions: [N, 2] or [N, 3] floating point.
        triangles: [T, 3] int64.

    Returns:
        [N] in the dtype of ``positions``; their sum is the area of the mesh. 0 for vertices without triangles.

    Raises:
        TypeError: positions are not floating point.
        ValueError: shapes do not fit, or a triangle names a vertex that is not there.

    Source:
        Hughes, "The Finite Element Method", 2000, section 7.3.2 (nodal quadrature).

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> vertex_areas(square, torch.tensor([[0, 1, 2], [0, 2, 3]])).sum().item()
        1.0
    """
    check_positions("vertex_areas", "positions", positions)
    if positions.shape[1] not in (2, 3):
        raise ValueError(f"vertex_areas: positions must be [N, 2] or [N, 3], got shape {tuple(positions.shape)}")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"vertex_areas: triangles must be [T, 3], got shape {tuple(triangles.shape)}")
    if triangles.numel() and not (int(triangles.min()) >= 0 and int(triangles.max()) < len(positions)):
        raise ValueError(
            f"vertex_areas: triangles must name vertices in [0, {len(positions)}), "
            f"got {int(triangles.min())} to {int(triangles.max())}"
        )
    corners = positions[triangles]
    corners = functional.pad(corners, (0, 3 - positions.shape[1]))
    thirds = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 6
    return positions.new_zeros(len(positions)).index_add(0, triangles.flatten(), thirds.repeat_interleave(3))

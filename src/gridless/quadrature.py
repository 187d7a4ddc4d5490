"""Weights w_j for which Σ_j w_j f(y_j) is the integral of f: what ``source_weights`` takes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gridless.arguments import check_positions, check_simplices


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
        TypeError: positions are not floating point, or corners not int64.
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
    check_simplices("vertex_areas", "triangles", triangles, 3, len(positions))
    corners = functional.pad(positions[triangles], (0, 3 - positions.shape[1]))
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 2
    return _shared_among_corners(areas, triangles, len(positions))


def vertex_volumes(positions: Tensor, tetrahedra: Tensor) -> Tensor:
    """Volume of each vertex of a mesh of tetrahedra: a quarter of each tetrahedron around it.

    w_j = Σ_{T ∋ j} |T| / 4, the exact integral of functions that are linear on each tetrahedron; the error of smooth
    functions falls with the square of the edge length.

    Args:
        positions: [N, 3] floating point.
        tetrahedra: [T, 4] int64, corners in any order.

    Returns:
        [N] in the dtype of ``positions``; their sum is the volume of the mesh. 0 for vertices without tetrahedra.

    Raises:
        TypeError: positions are not floating point, or corners not int64.
        ValueError: shapes do not fit, or a tetrahedron names a vertex that is not there.

    Source:
        Hughes, "The Finite Element Method", 2000, section 7.3.2 (nodal quadrature).

    Example:
        >>> corner = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 6.0]])
        >>> vertex_volumes(corner, torch.tensor([[0, 1, 2, 3]])).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    check_positions("vertex_volumes", "positions", positions)
    if positions.shape[1] != 3:
        raise ValueError(f"vertex_volumes: positions must be [N, 3], got shape {tuple(positions.shape)}")
    check_simplices("vertex_volumes", "tetrahedra", tetrahedra, 4, len(positions))
    corners = positions[tetrahedra]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volumes = (normals * (corners[:, 3] - corners[:, 0])).sum(dim=1).abs() / 6
    return _shared_among_corners(volumes, tetrahedra, len(positions))


def _shared_among_corners(sizes: Tensor, simplices: Tensor, num_vertices: int) -> Tensor:
    num_corners = simplices.shape[1]
    shares = (sizes / num_corners).repeat_interleave(num_corners)
    return sizes.new_zeros(num_vertices).index_add(0, simplices.flatten(), shares)

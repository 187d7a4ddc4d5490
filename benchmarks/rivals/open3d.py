"""Open3D's ContinuousConv: kernels interpolated on a grid of 3 × 3 × 3 points, a cheaper and less general function."""

from __future__ import annotations

from torch import Tensor

from benchmarks.contender import Contender
from benchmarks.problem import Problem
from benchmarks.suite import Pass, Sizes

LABEL = "Open3D ContinuousConv, 3×3×3 grid"

_GRID = (3, 3, 3)


def prepare(problem: Problem) -> Contender:
    """The same neighborhoods are given to it; the grid spans each of them. Weights are its own."""
    from open3d.ml.torch.layers import ContinuousConv

    sizes, rows = problem.sizes, problem.neighborhoods
    rival = ContinuousConv(sizes.in_channels, sizes.out_channels, kernel_size=list(_GRID), use_bias=False)
    edges = rows.to_edge_index()
    distances = (problem.positions[edges[1]] - problem.positions[edges[0]]).norm(dim=1)
    extents = 2 * distances.new_zeros(sizes.points).scatter_reduce(0, edges[1], distances, "amax")
    indices = rows.indices.int()

    def forward() -> Tensor:
        return rival(
            problem.features,
            problem.positions,
            problem.positions,
            extents,
            user_neighbors_index=indices,
            user_neighbors_row_splits=rows.offsets,
        )

    inputs = {"features": problem.features, "kernel": rival.kernel}
    return Contender(forward, inputs, problem.grad_out, same_function=False)


def expected_bytes(sizes: Sizes, passes: Pass) -> float:
    """Columns of all pairs in blocks of a bounded size; beside them, features, output and gradients."""
    tensors = 4.0 * sizes.points * (sizes.in_channels + sizes.out_channels)
    return tensors * (1 if passes == "forward" else 2)

"""The same layer in plain torch operations: φ of all pairs, a gather, a batched product, one GEMM, autograd.

The kernels of the pairs are not built here either. It is what one writes who knows that trick and no more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

import gridless as gl
from benchmarks.contender import Contender
from benchmarks.problem import Problem
from benchmarks.suite import Pass, Sizes

LABEL = "plain torch operations"


def forward(
    layer: gl.nn.ContinuousConv,
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    neighborhoods: gl.Neighborhoods,
) -> Tensor:
    """``layer(...)``, for layers without a window whose sums are means."""
    indices, counts = neighborhoods.indices, neighborhoods.offsets.diff()
    rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    queries, sources = query_positions / layer.scale, source_positions / layer.scale
    phi = (queries.index_select(0, rows) - sources.index_select(0, indices)).to(features.dtype)
    for hidden_layer in layer.kernel_layers:
        phi = functional.relu(hidden_layer(phi))
    phi = functional.pad(phi, (0, 1), value=1.0)
    # Not features[indices], whose gradient (index_put) takes twice as long as that of index_select.
    pair_features = features.index_select(0, indices)
    if len(counts) and bool((counts == counts[0]).all()):
        shape = (len(counts), int(counts[0]), -1)
        aggregated = torch.bmm(phi.view(shape).transpose(1, 2), pair_features.view(shape))
    else:
        products = torch.einsum("eh,ec->ehc", phi, pair_features)
        aggregated = products.new_zeros(len(counts), *products.shape[1:]).index_add(0, rows, products)
    out = aggregated.flatten(1) @ layer.weight.flatten(0, 1)
    out = out / counts.clamp_min(1)[:, None]
    return out if layer.bias is None else out + layer.bias


def prepare(problem: Problem) -> Contender:
    """The problem's own layer and weights, computed by ``forward``."""

    def run() -> Tensor:
        return forward(problem.layer, problem.features, problem.positions, problem.positions, problem.neighborhoods)

    return Contender(run, problem.inputs, problem.grad_out)


def expected_bytes(sizes: Sizes, passes: Pass) -> float:
    """Hidden layers before and after their activation, gathered features, sums; gradients of all of them."""
    pairs = sizes.pairs * (2 * sum(sizes.hidden) + sizes.kernel_width + sizes.in_channels)
    sums = sizes.points * sizes.kernel_width * sizes.in_channels
    return 4.0 * (pairs + sums) * (1.0 if passes == "forward" else 1.4)

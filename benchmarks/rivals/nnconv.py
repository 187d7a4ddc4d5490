"""PyTorch Geometric's NNConv with the same weights: it builds the kernel of every pair."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

import gridless as gl
from benchmarks.contender import Contender
from benchmarks.problem import Problem
from benchmarks.suite import Pass, Sizes

LABEL = "PyG NNConv, same weights"


class _KernelOfPairs(nn.Module):
    """NNConv's edge network, from a layer's own parameters: offsets [E, D] → kernels [E, C_in · C_out]."""

    def __init__(self, layer: gl.nn.ContinuousConv) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, offsets: Tensor) -> Tensor:
        hidden = offsets
        for hidden_layer in self.layer.kernel_layers:
            hidden = functional.relu(hidden_layer(hidden))
        return functional.linear(hidden, self.layer.weight[:-1].flatten(1).T, self.layer.weight[-1].flatten())


def prepare(problem: Problem) -> Contender:
    """Edges and their offsets are given to it ready made."""
    from torch_geometric.nn import NNConv

    sizes, layer = problem.sizes, problem.layer
    rival = NNConv(
        sizes.in_channels, sizes.out_channels, nn.Identity(), aggr="mean", root_weight=False, bias=False
    )  # fmt: skip
    # Only now: NNConv draws new weights for the network that it is made with.
    rival.nn = _KernelOfPairs(layer)
    edges = problem.neighborhoods.to_edge_index()
    positions = problem.positions / layer.scale
    offsets = (positions[edges[1]] - positions[edges[0]]).to(problem.features.dtype)
    return Contender(lambda: rival(problem.features, edges, offsets), problem.inputs, problem.grad_out)


def expected_bytes(sizes: Sizes, passes: Pass) -> float:
    """The kernels, and in the backward pass their gradients; the rest is small beside them."""
    kernels = 4.0 * sizes.pairs * sizes.in_channels * sizes.out_channels
    return kernels * (1.2 if passes == "forward" else 2.4)

"""The plain torch layer over chunks of queries, each computed again in the backward pass to save memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import gridless as gl
from benchmarks.contender import Contender
from benchmarks.problem import Problem
from benchmarks.rivals import plain
from benchmarks.suite import Pass, Sizes

LABEL = "plain torch operations in chunks of 1024 queries"

_QUERIES = 1024


def prepare(problem: Problem) -> Contender:
    """The problem's own layer and weights."""
    indices, offsets = problem.neighborhoods.indices, problem.neighborhoods.offsets
    num_queries = len(problem.positions)

    def forward_chunk(features: Tensor, first: int) -> Tensor:
        last = min(first + _QUERIES, num_queries)
        begin, end = int(offsets[first]), int(offsets[last])
        rows = gl.Neighborhoods(indices[begin:end], offsets[first : last + 1] - begin)
        return plain.forward(problem.layer, features, problem.positions, problem.positions[first:last], rows)

    def forward() -> Tensor:
        firsts = range(0, num_queries, _QUERIES)
        if not torch.is_grad_enabled():
            return torch.cat([forward_chunk(problem.features, first) for first in firsts])
        return torch.cat(
            [
                checkpoint(forward_chunk, problem.features, first, use_reentrant=False, preserve_rng_state=False)
                for first in firsts
            ]
        )

    return Contender(forward, problem.inputs, problem.grad_out)


def expected_bytes(sizes: Sizes, passes: Pass) -> float:
    """One chunk, and autograd's gradient of the features, which each chunk has a whole one of."""
    chunk = Sizes(min(_QUERIES, sizes.points), sizes.neighbors, sizes.in_channels, sizes.out_channels, sizes.hidden)
    return plain.expected_bytes(chunk, passes) + 8.0 * sizes.points * sizes.in_channels

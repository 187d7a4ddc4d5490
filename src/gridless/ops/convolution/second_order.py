"""Derivatives of the backward pass, of any order.

The backward pass gives the derivatives of F(φ, f, W, g) = Σ_e Σ_h Σ_c Σ_o φ_eh f_{j(e)c} W_hco g_{i(e)o}. Their
product with cotangents ḟ, Ẇ and those of all that φ depends on is F's derivative along these: three sums of its kind.

    S = F(φ̇, f, W, g) + F(φ, ḟ, W, g) + F(φ, f, Ẇ, g)

An implementation (`blocked` in the place of `triton`) computes their forward and backward passes as those of any
convolution, with φ̇ by forward-mode differentiation. Where a derivative of the result is to be taken, one
differentiates a block's plain formula instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from gridless.ops.convolution.blocks import Block, blocks
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import evaluate_phi
from gridless.ops.dtypes import compute_dtype


def differentiate_backward(
    problem: Problem,
    grad_sums: Tensor,
    cotangents: Mapping[str, Tensor],
    wanted: set[str],
    implementation: ModuleType,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of S = Σ ⟨cotangent, ∂F/∂name⟩ to g [M, C_out] and, by name, to the tensors that are wanted."""
    grad_total = torch.zeros_like(grad_sums)
    tensors = problem.differentiable()
    totals = {name: torch.zeros_like(tensor) for name, tensor in tensors.items() if name in wanted}
    for term, independent in _terms(problem, cotangents):
        sums = torch.zeros_like(grad_sums)
        for name, gradient in implementation.backward(term, grad_sums, wanted - {independent}, sums).items():
            totals[name] += gradient
        grad_total += sums
    return grad_total, totals


def _terms(problem: Problem, cotangents: Mapping[str, Tensor]) -> Iterator[tuple[Problem, str]]:
    """The sums that make up S, each with the name of the tensor that a cotangent stands for in it."""
    sums = replace(problem, mean=False)
    tangents = {name: value for name, value in cotangents.items() if name not in ("features", "weight")}
    if tangents:
        yield replace(sums, tangents=tangents), ""
    if "features" in cotangents:
        yield replace(sums, features=cotangents["features"]), "features"
    if "weight" in cotangents:
        yield replace(sums, weight=cotangents["weight"]), "weight"


def differentiate_backward_again(
    problem: Problem, grad_sums: Tensor, cotangents: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same gradients, to g and every tensor, as differentiable functions of them all: blocks' graphs are kept."""
    tensors = problem.differentiable()
    totals = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    grad_total = torch.zeros_like(grad_sums)
    for block in blocks(problem, rows_are_queries=True):
        queries = block.queries.view(block.shape)[:, 0]
        inputs = _block_inputs(problem, block, tensors)
        leaves = [
            value.requires_grad_() if value.is_leaf else value for value in (*inputs.values(), grad_sums[queries])
        ]
        named = dict(zip([*inputs, "grad_out"], leaves, strict=True))
        out = _block_sum(problem, block, named)
        chosen = [named[name] for name in cotangents]
        first = torch.autograd.grad(out, chosen, named["grad_out"], create_graph=True, materialize_grads=True)
        seeds = [
            value if rows is None else value[rows]
            for value, rows in ((value, _rows_of(block, name, problem)) for name, value in cotangents.items())
        ]
        second = torch.autograd.grad(first, leaves, seeds, create_graph=True, allow_unused=True, materialize_grads=True)
        for name, gradient in zip(inputs, second[:-1], strict=True):
            rows = _rows_of(block, name, problem)
            total = totals[name]
            totals[name] = total + gradient if rows is None else total.index_add(0, rows, gradient)
        grad_total = grad_total.index_add(0, queries, second[-1])
    return grad_total, totals


def _rows_of(block: Block, name: str, problem: Problem) -> Tensor | None:
    return block.sources if name == "features" else block.rows_of(name, problem.kernel.basis)


def _block_inputs(problem: Problem, block: Block, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the sum over a block's pairs depends on, one row a slot, parameters as fresh views."""
    inputs = block.gather_phi_inputs(tensors, problem.kernel.basis)
    inputs["features"] = tensors["features"][block.sources]
    return {name: value.view_as(value) for name, value in inputs.items()}


def _block_sum(problem: Problem, block: Block, inputs: dict[str, Tensor]) -> Tensor:
    """Σ over each row of the block, [B, C_out], in differentiable operations."""
    num_rows, length = block.shape
    dtype = compute_dtype(problem.features)
    phi = evaluate_phi(problem.kernel, inputs, dtype)
    if block.padding is not None:
        phi = phi.masked_fill(block.padding[:, None], 0.0)
    pair_features = inputs["features"].to(dtype)
    weight = inputs["weight"].to(dtype)
    if problem.depthwise:
        out = ((phi @ weight) * pair_features).view(num_rows, length, -1).sum(dim=1)
    else:
        aggregated = phi.view(num_rows, length, -1).transpose(1, 2) @ pair_features.view(num_rows, length, -1)
        out = aggregated.flatten(1) @ weight.flatten(0, 1)
    return out

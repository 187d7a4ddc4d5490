"""The implementations as one custom operator, so that autograd, torch.compile and torch.export take it as one node.

The backward pass is an operator of its own. Derivatives of order two and more differentiate the block's plain formula,
also block by block, so that they too are bounded in memory as long as no further order is asked for.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gridless.errors import UnsupportedError
from gridless.ops.convolution import blocked, native, triton
from gridless.ops.convolution.blocks import Block, blocks
from gridless.ops.convolution.kernel import Kernel
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.slots import evaluate_phi
from gridless.ops.dtypes import compute_dtype
from gridless.ops.registration import operator


def _problem(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    extents: Tensor | None,
    basis_parameters: list[Tensor],
    window_parameters: list[Tensor],
    basis: str,
    window: str,
    mean: bool,
) -> Problem:
    kernel = Kernel(basis, tuple(basis_parameters), window, tuple(window_parameters))
    return Problem(features, source_positions, query_positions, indices, offsets, weight, kernel, extents, mean)


def _implementation(problem: Problem, impl: str) -> ModuleType:
    """The module that computes this problem; chosen anew in each call, so that an exported program runs anywhere."""
    if impl == "auto":
        fast = triton if problem.features.is_cuda else native
        return blocked if fast.why_not(problem) else fast
    implementation = {"blocked": blocked, "native": native, "triton": triton}[impl]
    if reason := implementation.why_not(problem):
        raise UnsupportedError(f"continuous_conv: impl={impl!r} cannot run here: {reason}; use impl='auto'")
    return implementation


@operator("continuous_conv")
def continuous_conv_op(
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    extents: Tensor | None,
    basis_parameters: list[Tensor],
    window_parameters: list[Tensor],
    basis: str,
    window: str,
    mean: bool,
    impl: str,
) -> Tensor:
    """Sum or mean of kernel times features over every support, in the features' dtype; arguments as in ``api``."""
    problem = _problem(
        features, source_positions, query_positions, indices, offsets, weight, extents,
        basis_parameters, window_parameters, basis, window, mean,
    )  # fmt: skip
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        out: Tensor = _implementation(problem, impl).forward(problem).to(features.dtype)
    return out


@continuous_conv_op.register_fake
def _(features, source_positions, query_positions, indices, offsets, weight, *_):  # type: ignore[no-untyped-def]
    return features.new_empty((query_positions.shape[0], weight.shape[-1]))


@operator("continuous_conv_backward")
def continuous_conv_backward_op(
    grad_out: Tensor,
    features: Tensor,
    source_positions: Tensor,
    query_positions: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weight: Tensor,
    extents: Tensor | None,
    basis_parameters: list[Tensor],
    window_parameters: list[Tensor],
    basis: str,
    window: str,
    mean: bool,
    impl: str,
    wanted: str,
) -> list[Tensor]:
    """Gradients of the tensors named in ``wanted`` (separated by spaces), in that order."""
    problem = _problem(
        features, source_positions, query_positions, indices, offsets, weight, extents,
        basis_parameters, window_parameters, basis, window, mean,
    )  # fmt: skip
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        grad_sums = problem.averaged(grad_out.to(compute_dtype(features)))
        gradients = _implementation(problem, impl).backward(problem, grad_sums, set(wanted.split()))
    return [gradients[name] for name in wanted.split()]


@continuous_conv_backward_op.register_fake
def _(grad_out, *arguments):  # type: ignore[no-untyped-def]
    *inputs, _, wanted = arguments
    tensors = _problem(*inputs).differentiable()
    return [torch.empty_like(tensors[name], memory_format=torch.contiguous_format) for name in wanted.split()]


def _save(ctx: Any, arguments: tuple[Any, ...]) -> None:
    """Keep an operator's arguments (tensors through autograd's own book-keeping)."""
    *tensors, extents, basis_parameters, window_parameters, basis, window, mean, impl = arguments
    ctx.counts = (len(tensors), extents is not None, len(basis_parameters))
    ctx.names = (basis, window, mean, impl)
    optional = [] if extents is None else [extents]
    ctx.save_for_backward(*tensors, *optional, *basis_parameters, *window_parameters)


def _saved(ctx: Any) -> list[Any]:
    """The arguments as ``_save`` was given them."""
    num_tensors, has_extents, num_basis = ctx.counts
    saved = list(ctx.saved_tensors)
    tensors, rest = saved[:num_tensors], saved[num_tensors:]
    extents = rest.pop(0) if has_extents else None
    return [*tensors, extents, rest[:num_basis], rest[num_basis:], *ctx.names]


def _wanted(problem: Problem, needs: tuple[Any, ...]) -> list[str]:
    """Names of the tensors that need a gradient, from needs_input_grad of ``continuous_conv_op``'s arguments."""
    features, source_positions, query_positions, _, _, weight, extents, basis, window, *_ = needs
    flags = {
        "features": features,
        "source_positions": source_positions,
        "query_positions": query_positions,
        "weight": weight,
        "extents": extents,
    }
    flags |= {f"basis.{place}": need for place, need in enumerate(basis or [])}
    flags |= {f"window.{place}": need for place, need in enumerate(window or [])}
    return [name for name in problem.differentiable() if flags[name]]


def _as_arguments(gradients: dict[str, Tensor], problem: Problem) -> tuple[Any, ...]:
    """Gradients by name as autograd wants them: one entry an argument of ``continuous_conv_op``."""
    return (
        gradients.get("features"),
        gradients.get("source_positions"),
        gradients.get("query_positions"),
        None,
        None,
        gradients.get("weight"),
        gradients.get("extents"),
        [gradients.get(f"basis.{place}") for place in range(len(problem.kernel.basis_parameters))],
        [gradients.get(f"window.{place}") for place in range(len(problem.kernel.window_parameters))],
        None,
        None,
        None,
        None,
    )


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save(ctx, inputs)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
    arguments = _saved(ctx)
    problem = _problem(*arguments[:-1])
    wanted = _wanted(problem, ctx.needs_input_grad)
    arguments.append(" ".join(wanted))
    gradients = continuous_conv_backward_op(grad_out, *arguments) if wanted else []
    return _as_arguments(dict(zip(wanted, gradients, strict=True)), problem)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    *arguments, wanted = inputs
    ctx.wanted = wanted.split()
    _save(ctx, tuple(arguments))


def _double_backward(ctx: Any, cotangents: list[Tensor | None]) -> tuple[Any, ...]:
    grad_out, *arguments = _saved(ctx)
    problem = _problem(*arguments[:-1])
    if _implementation(problem, arguments[-1]) is triton:
        _tell_of_second_order()
    given = {name: value for name, value in zip(ctx.wanted, cotangents, strict=True) if value is not None}
    grad_sums = problem.averaged(grad_out.to(compute_dtype(problem.features)))
    grad_of_grad_sums, gradients = _differentiate_backward(problem, grad_sums, given)
    grad_of_grad_out = problem.averaged(grad_of_grad_sums).to(grad_out.dtype)
    return (grad_of_grad_out, *_as_arguments(gradients, problem), None)


@cache
def _tell_of_second_order() -> None:
    """Once a process: who measures a loss with gradients of gradients should know what is measured."""
    logging.getLogger(__name__).warning(
        "continuous_conv: second derivatives have no Triton kernels; torch operations compute them, block by block"
    )


def _differentiate_backward(
    problem: Problem, grad_out: Tensor, cotangents: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of Σ ⟨cotangent, ∂F/∂name⟩ to g and to every tensor, differentiable again where grad is enabled."""
    create_graph = torch.is_grad_enabled()
    tensors = problem.differentiable()
    totals = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    grad_total = torch.zeros_like(grad_out)
    for block in blocks(problem, rows_are_queries=True):
        with torch.enable_grad():
            inputs = _block_inputs(problem, block, tensors)
            block_grad = grad_out[block.queries.view(block.shape)[:, 0]]
            if not create_graph:
                inputs = {name: value.detach() for name, value in inputs.items()}
                block_grad = block_grad.detach()
            leaves = [value.requires_grad_() if value.is_leaf else value for value in (*inputs.values(), block_grad)]
            named = dict(zip([*inputs, "grad_out"], leaves, strict=True))
            out = _block_sum(problem, block, named)
            chosen = [named[name] for name in cotangents]
            first = torch.autograd.grad(out, chosen, named["grad_out"], create_graph=True, materialize_grads=True)
            seeds = [
                value if rows is None else value[rows]
                for value, rows in ((value, _rows_of(block, name, problem)) for name, value in cotangents.items())
            ]
            second = torch.autograd.grad(
                first, leaves, seeds, create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        for name, gradient in zip(inputs, second[:-1], strict=True):
            rows = _rows_of(block, name, problem)
            total = totals[name]
            totals[name] = total + gradient if rows is None else total.index_add(0, rows, gradient)
        grad_total = grad_total.index_add(0, block.queries.view(block.shape)[:, 0], second[-1])
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


continuous_conv_op.register_autograd(_backward, setup_context=_setup_forward)
continuous_conv_backward_op.register_autograd(_double_backward, setup_context=_setup_backward)

"""The implementations as one custom operator, so that autograd, torch.compile and torch.export take it as one node.

The backward pass is an operator of its own, whose derivatives are in ``second_order``.
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
from gridless.ops.convolution.kernel import Kernel
from gridless.ops.convolution.problem import Problem
from gridless.ops.convolution.second_order import differentiate_backward, differentiate_backward_again
from gridless.ops.dtypes import compute_dtype
from gridless.ops.registration import needs_of_arguments, operator


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
    """Names of the tensors that need a gradient, from the needs of ``continuous_conv_op``'s arguments."""
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
    wanted = _wanted(problem, needs_of_arguments(ctx))
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
    implementation = _implementation(problem, arguments[-1])
    if implementation is triton:
        _tell_of_second_order()
        implementation = blocked
    given = {name: value for name, value in zip(ctx.wanted, cotangents, strict=True) if value is not None}
    grad_sums = problem.averaged(grad_out.to(compute_dtype(problem.features)))
    if torch.is_grad_enabled():
        grad_of_grad_sums, gradients = differentiate_backward_again(problem, grad_sums, given)
    else:
        wanted = set(_wanted(problem, needs_of_arguments(ctx)[1:]))
        grad_of_grad_sums, gradients = differentiate_backward(problem, grad_sums, given, wanted, implementation)
    grad_of_grad_out = problem.averaged(grad_of_grad_sums).to(grad_out.dtype)
    return (grad_of_grad_out, *_as_arguments(gradients, problem), None)


@cache
def _tell_of_second_order() -> None:
    """Once a process: who measures a loss with gradients of gradients should know what is measured."""
    logging.getLogger(__name__).warning(
        "continuous_conv: second derivatives have no Triton kernels; torch operations compute them, block by block"
    )


continuous_conv_op.register_autograd(_backward, setup_context=_setup_forward)
continuous_conv_backward_op.register_autograd(_double_backward, setup_context=_setup_backward)

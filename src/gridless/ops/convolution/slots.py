"""φ where an implementation needs it, slot by slot, and the way of its gradient back to whole tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gridless.ops.convolution.basis import BASES, GIVEN
from gridless.ops.convolution.kernel import Kernel, PairInputs
from gridless.ops.convolution.problem import Problem
from gridless.ops.dtypes import compute_dtype

PullBack = Callable[[Tensor], dict[str, Tensor]]

# Levels of forward differentiation are counted for the whole process: one thread at a time.
_forward_level = threading.RLock()


@dataclass(frozen=True)
class Slots:
    """Places for pairs in the order in which an implementation walks through them.

    Args:
        pairs: [S] pair of each slot.
        sources: [S] source of each slot.
        queries: [S] query of each slot.
    """

    pairs: Tensor
    sources: Tensor
    queries: Tensor

    def gather_phi_inputs(self, tensors: Mapping[str, Tensor], basis: str) -> dict[str, Tensor]:
        """From whole tensors named as in ``Problem.differentiable``, what φ of these slots depends on."""
        inputs = {}
        for name, tensor in tensors.items():
            rows = self.rows_of(name, basis)
            inputs[name] = tensor if rows is None else tensor.index_select(0, rows)
        return inputs

    def rows_of(self, name: str, basis: str) -> Tensor | None:
        """Which rows of a whole tensor belong to these slots; None for parameters, which all slots share."""
        rows = {"source_positions": self.sources, "query_positions": self.queries, "extents": self.queries}
        if basis == GIVEN:
            rows["basis.0"] = self.pairs
        return rows.get(name)


def evaluate_phi(kernel: Kernel, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """φ [S, H] of some slots from their named inputs."""
    basis = tuple(inputs[f"basis.{place}"].to(dtype) for place in range(len(kernel.basis_parameters)))
    window = tuple(inputs[f"window.{place}"].to(dtype) for place in range(len(kernel.window_parameters)))
    kernel = replace(kernel, basis_parameters=basis, window_parameters=window)
    return kernel.evaluate(_pair_inputs(kernel, inputs), dtype)


def _pair_inputs(kernel: Kernel, inputs: Mapping[str, Tensor]) -> PairInputs:
    return PairInputs(
        source_positions=inputs["source_positions"],
        query_positions=inputs["query_positions"],
        extents=inputs.get("extents"),
        basis_values=inputs["basis.0"] if kernel.basis == GIVEN else None,
    )


def phi_and_pull_back(problem: Problem, slots: Slots, behind_phi: list[str]) -> tuple[Tensor, PullBack]:
    """φ [S, H] of some slots and what pulls ∂F/∂φ back to the tensors named in ``behind_phi``, one row a slot."""
    dtype = compute_dtype(problem.features)
    kernel = problem.kernel
    inputs = slots.gather_phi_inputs(problem.differentiable(), kernel.basis)
    if not behind_phi:
        return _phi(problem, slots, inputs), lambda _: {}

    linearize = None if kernel.basis == GIVEN or problem.tangents else BASES[kernel.basis].linearize
    if linearize is not None and all(name.startswith("basis.") for name in behind_phi):
        kernel = kernel.to(dtype)
        z = _pair_inputs(kernel, inputs).relative_positions(dtype)
        phi, pull_back_basis = linearize(z, kernel.basis_parameters)
        window = kernel.window_values(z, inputs.get("extents"))
        if window is not None:
            phi = phi * window[:, None]

        def pull_back_by_hand(grad_phi: Tensor) -> dict[str, Tensor]:
            gradients = pull_back_basis(grad_phi if window is None else grad_phi * window[:, None])
            named = {f"basis.{place}": gradient for place, gradient in enumerate(gradients)}
            return {name: named[name] for name in behind_phi}

        return phi, pull_back_by_hand

    def phi_of(*values: Tensor) -> Tensor:
        return _phi(problem, slots, inputs | dict(zip(behind_phi, values, strict=True)))

    # Autograd proper is switched off below a custom operator; torch.func is not.
    phi, pull_back, *_ = torch.func.vjp(phi_of, *(inputs[name] for name in behind_phi))
    return phi, lambda grad_phi: dict(zip(behind_phi, pull_back(grad_phi), strict=True))


def _phi(problem: Problem, slots: Slots, inputs: Mapping[str, Tensor]) -> Tensor:
    """φ [S, H], or its derivative along the problem's tangents."""
    kernel, dtype = problem.kernel, compute_dtype(problem.features)
    if not problem.tangents:
        return evaluate_phi(kernel, inputs, dtype)
    directions = slots.gather_phi_inputs(problem.tangents, kernel.basis)

    def phi_of(values: dict[str, Tensor]) -> Tensor:
        return evaluate_phi(kernel, {**inputs, **values}, dtype)

    with _forward_level:
        derivative: Tensor = torch.func.jvp(phi_of, ({name: inputs[name] for name in directions},), (directions,))[1]
    return derivative


def add_rows(totals: dict[str, Tensor], gradients: Mapping[str, Tensor], slots: Slots, basis: str) -> None:
    """Add gradients, one row a slot where slots have rows of their own, to those of whole tensors."""
    for name, gradient in gradients.items():
        rows = slots.rows_of(name, basis)
        if rows is None:
            totals[name] += gradient
        else:
            totals[name].index_add_(0, rows, gradient.to(totals[name].dtype))

"""Bases φ: R^D -> R^H in which kernels are expanded, g(z) = Σ_h φ_h(z) W_h.

A basis is a name and a function ``(z [E, D], parameters) -> φ [E, H]`` of plain differentiable torch operations.
The operators never look inside, so ``register_basis`` is all that a new kernel family takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BasisFunction = Callable[[Tensor, Sequence[Tensor]], Tensor]
ParameterPullBack = Callable[[Tensor], list[Tensor]]
Linearization = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ParameterPullBack]]


@dataclass(frozen=True)
class Basis:
    """A function φ and, where automatic differentiation is too slow for it, its gradient by hand.

    Args:
        evaluate: ``(z [E, D], parameters) -> φ [E, H]``.
        linearize: ``(z, parameters) -> (φ, pull_back)``, ``pull_back(∂φ) -> ∂parameters``; None: autograd does it.
    """

    evaluate: BasisFunction
    linearize: Linearization | None = None


BASES: dict[str, Basis] = {}

#: The basis whose values are given, one row a pair: parameters = [φ [E, H]].
GIVEN = "given"


def register_basis(name: str, function: BasisFunction, linearize: Linearization | None = None) -> None:
    """Make ``function`` usable as ``basis=name``.

    Args:
        name: a new name; registering one twice is an error.
        function: ``(z [E, D], parameters) -> φ [E, H]``, row by row independent, in differentiable torch operations.
        linearize: optional faster way to φ and its gradient to the parameters, see ``Basis``.

    Raises:
        ValueError: the name is taken.

    Example:
        >>> register_basis("example_monomials", lambda z, parameters: torch.cat([torch.ones_like(z[:, :1]), z], dim=1))
        >>> BASES["example_monomials"].evaluate(torch.tensor([[2.0, 3.0]]), []).tolist()
        [[1.0, 2.0, 3.0]]
    """
    if name in BASES or name == GIVEN:
        raise ValueError(f"register_basis: {name!r} is already a basis")
    BASES[name] = Basis(function, linearize)


def _append_one(values: Tensor) -> Tensor:
    """The constant that carries the bias of the kernel's last layer."""
    return functional.pad(values, (0, 1), value=1.0)


@dataclass(frozen=True)
class _Activation:
    function: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    """(gradient of the output, input) -> gradient of the input."""


_ACTIVATIONS = {
    "relu": _Activation(functional.relu, lambda grad, x: torch.ops.aten.threshold_backward(grad, x, 0.0)),
    "silu": _Activation(functional.silu, torch.ops.aten.silu_backward),
    "gelu": _Activation(functional.gelu, torch.ops.aten.gelu_backward),
    "sine": _Activation(torch.sin, lambda grad, x: grad * x.cos()),
}


def _register_mlp(name: str, activation: _Activation) -> None:
    """Hidden layers of an MLP and a constant 1; parameters = [V1 [H1, D], b1 [H1], V2 [H2, H1], b2 [H2], ...]."""

    def evaluate(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        hidden = z
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            hidden = activation.function(functional.linear(hidden, weight, bias))
        return _append_one(hidden)

    def linearize(z: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ParameterPullBack]:
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        inputs, preactivations = [z], []
        for weight, bias in layers:
            preactivations.append(functional.linear(inputs[-1], weight, bias))
            inputs.append(activation.function(preactivations[-1]))

        def pull_back(grad_phi: Tensor) -> list[Tensor]:
            grad_hidden = grad_phi[:, :-1]
            gradients: list[Tensor] = []
            for layer in reversed(range(len(layers))):
                grad_preactivation = activation.backward(grad_hidden, preactivations[layer])
                gradients = [grad_preactivation.T @ inputs[layer], grad_preactivation.sum(dim=0), *gradients]
                if layer > 0:
                    grad_hidden = grad_preactivation @ layers[layer][0]
            return gradients

        return _append_one(inputs[-1]), pull_back

    register_basis(name, evaluate, linearize)


def _fourier(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """cos and sin of z·B, and a constant 1; parameters = [B [D, F]] in radians per unit of z."""
    phase = z @ parameters[0]
    return _append_one(torch.cat([phase.cos(), phase.sin()], dim=1))


def _distance(difference: Tensor) -> Tensor:
    """Norm over the last axis with gradient 0, instead of NaN, where it is 0."""
    squared = difference.square().sum(dim=-1)
    positive = squared > 0
    return torch.where(positive, squared, 1.0).sqrt() * positive


def _gaussian_radial(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """exp(-(|z| - r_h)² / 2 s_h²), the same in all directions; parameters = [r [H], s [H]]."""
    centers, widths = parameters
    return torch.exp(-0.5 * ((_distance(z)[:, None] - centers) / widths).square())


def _kernel_points(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """max(0, 1 - |z - p_h| / s), linear correlation with points; parameters = [p [H, D], s []]."""
    points, influence = parameters
    return functional.relu(1.0 - _distance(z[:, None, :] - points) / influence)


def _with_silu_layers(inputs: BasisFunction, num_inputs: int) -> BasisFunction:
    """An MLP with SiLU on another basis; parameters = [those of the basis, V1 [H1, F], b1 [H1], ...]."""

    def evaluate(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        return BASES["mlp_silu"].evaluate(inputs(z, parameters[:num_inputs]), parameters[num_inputs:])

    return evaluate


def _linear_spline(distance: Tensor) -> Tensor:
    return (1.0 - distance).clamp_min(0.0)


def _quadratic_spline(distance: Tensor) -> Tensor:
    return torch.where(distance < 0.5, 0.75 - distance.square(), 0.5 * (1.5 - distance).clamp_min(0.0).square())


def _cubic_spline(distance: Tensor) -> Tensor:
    near = 2.0 / 3.0 - distance.square() + 0.5 * distance.pow(3)
    return torch.where(distance < 1.0, near, (2.0 - distance).clamp_min(0.0).pow(3) / 6.0)


def _spline_grid(spline: Callable[[Tensor], Tensor]) -> BasisFunction:
    """Products over the axes of B-splines around the K knots of each axis, H = K^D, the last axis fastest.

    Parameters = [knots [D, K], distance between knots [D]]; the linear one interpolates values on the grid.
    """

    def evaluate(z: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        knots, spacings = parameters
        factors = spline(((z[:, :, None] - knots) / spacings[:, None]).abs())
        products = factors[:, 0]
        for axis in range(1, z.shape[1]):
            products = (products[:, :, None] * factors[:, axis, None, :]).flatten(1)
        return products

    return evaluate


for _name, _activation in _ACTIVATIONS.items():
    _register_mlp(f"mlp_{_name}", _activation)
register_basis("fourier", _fourier)
register_basis("gaussian_radial", _gaussian_radial)
register_basis("kernel_points", _kernel_points)
register_basis("fourier_mlp", _with_silu_layers(_fourier, 1))
register_basis("radial_mlp", _with_silu_layers(_gaussian_radial, 2))
for _name, _spline in (("linear", _linear_spline), ("quadratic", _quadratic_spline), ("cubic", _cubic_spline)):
    register_basis(f"spline_{_name}", _spline_grid(_spline))

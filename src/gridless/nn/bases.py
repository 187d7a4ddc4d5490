"""Families of kernels for :class:`ContinuousConv` beside its MLP: bases φ with g(z) = Σ_h φ_h(z) W_h.

The length unit is the layer's: z is the offset divided by its ``scale``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gridless.arguments import check_tensor


class KernelBasis(nn.Module):
    """A basis with its parameters; subclasses set ``name``, ``width`` and ``dim`` and give the parameters.

    Attributes:
        name: of the function, as registered with ``register_basis``.
        width: H.
        dim: inputs of φ, or None where it takes any number.

    Example:
        >>> GaussianRadial(8, cutoff=1.0).width
        8
    """

    name: str
    width: int
    dim: int | None = None

    def basis_parameters(self) -> list[Tensor]:
        """The tensors that the registered function takes, in its order."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw the parameters that training changes anew; a family without any has nothing to do."""


class GaussianRadial(KernelBasis):
    """Rotation-invariant kernels: φ_h(z) = exp(−(|z| − r_h)² / 2 s²), r_h evenly from 0 to the cutoff, s apart.

    Args:
        num_centers: radii r_h, at least 2.
        cutoff: largest radius.
        hidden: widths of an MLP with SiLU behind them (SchNet's filter network); empty for the radial functions alone.

    Raises:
        ValueError: fewer than 2 centers, or a cutoff or width that is not positive.

    Source:
        Schütt et al., "SchNet", NeurIPS 2017, section 4.

    Example:
        >>> from gridless.nn import ContinuousConv
        >>> conv = ContinuousConv(4, 4, basis=GaussianRadial(8, cutoff=1.0))
        >>> kernel = conv.kernel_at(torch.tensor([[0.3, 0.4, 0.0], [0.0, 0.0, 0.5]]))
        >>> bool(torch.allclose(kernel[0], kernel[1]))
        True
    """

    def __init__(self, num_centers: int, cutoff: float, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        if num_centers < 2 or not cutoff > 0:
            raise ValueError(f"GaussianRadial: needs 2 centers and a positive cutoff, got {num_centers} and {cutoff}")
        self.register_buffer("centers", torch.linspace(0.0, cutoff, num_centers))
        self.register_buffer("widths", torch.full((num_centers,), cutoff / (num_centers - 1)))
        self.layers = _layers("GaussianRadial", num_centers, hidden)
        self.name = "radial_mlp" if hidden else "gaussian_radial"
        self.width = hidden[-1] + 1 if hidden else num_centers

    def basis_parameters(self) -> list[Tensor]:
        return [self.get_buffer("centers"), self.get_buffer("widths"), *self.layers.parameters()]

    def reset_parameters(self) -> None:
        _reset(self.layers)


class FourierFeatures(KernelBasis):
    """Kernels of fine detail: φ(z) = (cos Bᵀz, sin Bᵀz, 1) with normally distributed B, or an MLP of it.

    Args:
        dim: inputs of the kernel (the layer's ``dim``, two or three times it with other ``kernel_inputs``).
        num_frequencies: columns of B.
        spread: standard deviation of B in radians per unit of z.
        hidden: widths of an MLP with SiLU behind the features; empty for the features alone.
        learned: train B.

    Raises:
        ValueError: a count or width is not positive, or the spread is not.

    Source:
        Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions", NeurIPS 2020.

    Example:
        >>> FourierFeatures(3, 16, spread=2.0).width
        33
    """

    def __init__(
        self, dim: int, num_frequencies: int, spread: float, hidden: Sequence[int] = (), learned: bool = False
    ) -> None:
        super().__init__()
        if dim < 1 or num_frequencies < 1 or not spread > 0:
            raise ValueError(
                f"FourierFeatures: dim, num_frequencies and spread must be positive, "
                f"got {dim}, {num_frequencies} and {spread}"
            )
        self.dim, self.spread = dim, spread
        self.frequencies = nn.Parameter(spread * torch.randn(dim, num_frequencies), requires_grad=learned)
        self.layers = _layers("FourierFeatures", 2 * num_frequencies + 1, hidden)
        self.name = "fourier_mlp" if hidden else "fourier"
        self.width = hidden[-1] + 1 if hidden else 2 * num_frequencies + 1

    def basis_parameters(self) -> list[Tensor]:
        return [self.frequencies, *self.layers.parameters()]

    def reset_parameters(self) -> None:
        if self.frequencies.requires_grad:
            nn.init.normal_(self.frequencies, std=self.spread)
        _reset(self.layers)


class KernelPoints(KernelBasis):
    """One weight matrix a point of the kernel: φ_h(z) = max(0, 1 − |z − p_h| / s).

    Args:
        points: [H, D] p_h in the layer's length unit.
        influence: s.

    Raises:
        TypeError: points are not a tensor.
        ValueError: points are not [H, D] or there are none, or influence is not positive.

    Source:
        Thomas et al., "KPConv", ICCV 2019, section 3.1.

    Example:
        >>> KernelPoints(torch.randn(15, 3), influence=0.5).width
        15
    """

    name = "kernel_points"

    def __init__(self, points: Tensor, influence: float) -> None:
        super().__init__()
        check_tensor("KernelPoints", "points", points)
        if points.ndim != 2 or points.numel() == 0 or not influence > 0:
            raise ValueError(
                f"KernelPoints: points must be [H, D] with H, D >= 1 and influence positive, "
                f"got {tuple(points.shape)} and {influence}"
            )
        self.register_buffer("points", points.clone())
        self.register_buffer("influence", torch.tensor(float(influence)))
        self.width, self.dim = points.shape

    def basis_parameters(self) -> list[Tensor]:
        return [self.get_buffer("points"), self.get_buffer("influence")]


class SplineGrid(KernelBasis):
    """Values on a grid between −reach and reach, interpolated by B-splines: φ_h(z) = Π_d B((z_d − k_hd) / spacing).

    Args:
        dim: D, inputs of the kernel.
        knots: K along each axis, at least 2; H = K^D.
        reach: where the outermost knots lie.
        degree: 1 (interpolation), 2 or 3.

    Raises:
        ValueError: a count is too small, reach is not positive, or another degree.

    Source:
        de Boor, "A Practical Guide to Splines", 2001, chapter IX (uniform knots).

    Example:
        >>> SplineGrid(2, 5).width
        25
    """

    def __init__(self, dim: int, knots: int, reach: float = 1.0, degree: int = 1) -> None:
        super().__init__()
        names = {1: "spline_linear", 2: "spline_quadratic", 3: "spline_cubic"}
        if dim < 1 or knots < 2 or not reach > 0 or degree not in names:
            raise ValueError(
                f"SplineGrid: needs dim >= 1, knots >= 2, reach > 0 and degree 1, 2 or 3, "
                f"got {dim}, {knots}, {reach} and {degree}"
            )
        self.register_buffer("knots", torch.linspace(-reach, reach, knots).repeat(dim, 1))
        self.register_buffer("spacings", torch.full((dim,), 2 * reach / (knots - 1)))
        self.name, self.width, self.dim = names[degree], knots**dim, dim

    def basis_parameters(self) -> list[Tensor]:
        return [self.get_buffer("knots"), self.get_buffer("spacings")]


def _layers(owner: str, inputs: int, hidden: Sequence[int]) -> nn.ModuleList:
    """Hidden layers of an MLP behind a basis."""
    if any(width < 1 for width in hidden):
        raise ValueError(f"{owner}: widths of hidden layers must be at least 1, got {tuple(hidden)}")
    layers = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise((inputs, *hidden)))
    _reset(layers)
    return layers


def _reset(layers: nn.ModuleList) -> None:
    """Weights and biases; these spread the units as those of the layer's own MLP do."""
    for parameter in layers.parameters():
        if parameter.ndim == 2:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(3.0))
        else:
            nn.init.uniform_(parameter, -0.5, 0.5)

"""Convolution problems made to measure, and the comparison that names what differs."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch

from gridless.ops.convolution import available_implementations, continuous_conv

IMPLEMENTATIONS = [
    pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=reason))
    for name, reason in available_implementations().items()
]
MLP_HIDDEN = (5, 4)


@dataclass
class Case:
    """The arguments of one call; ``tensors`` holds every differentiable one by name."""

    tensors: dict
    indices: torch.Tensor
    offsets: torch.Tensor
    options: dict = field(default_factory=dict)

    def run(self, impl="blocked"):
        tensors = self.tensors
        return continuous_conv(
            tensors["features"], tensors["source_positions"], tensors["query_positions"],
            self.indices, self.offsets, tensors["weight"],
            basis_parameters=[tensors[name] for name in tensors if name.startswith("basis.")],
            window_parameters=[tensors[name] for name in tensors if name.startswith("window.")],
            extents=tensors.get("extents"), density=tensors.get("density"), impl=impl, **self.options,
        )  # fmt: skip

    def with_tensors(self, **tensors):
        """The same problem with some tensors replaced."""
        return replace(self, tensors=self.tensors | tensors)

    def to(self, dtype, only=None):
        """Fresh leaves in another dtype that need gradients; ``only`` names those that change."""
        tensors = {
            name: tensor.detach().to(dtype if only is None or name in only else tensor.dtype).requires_grad_()
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=tensors)

    def results(self, out):
        """The output and, by name, the gradients of one fixed function of it."""
        probe = (
            torch.linspace(-1, 2, max(out.numel(), 1), dtype=torch.float64)[: out.numel()].view_as(out).to(out.dtype)
        )
        wanted = {name: tensor for name, tensor in self.tensors.items() if tensor.requires_grad}
        gradients = torch.autograd.grad((out * probe).sum(), list(wanted.values()), materialize_grads=True)
        named = zip(wanted, gradients, strict=True)
        return {"output": out} | {f"gradient of {name}": gradient for name, gradient in named}


def _basis_parameters(basis, dim, num_pairs, normal):
    """Parameters of a basis and its width H."""
    if basis.startswith("mlp_"):
        widths = (dim, *MLP_HIDDEN)
        parameters = [
            tensor
            for fan_in, fan_out in pairwise(widths)
            for tensor in (normal(fan_out, fan_in) / fan_in**0.5, 0.5 * normal(fan_out))
        ]
        return parameters, widths[-1] + 1
    return {
        "fourier": ([normal(dim, 3)], 7),
        "gaussian_radial": ([normal(4).abs(), 0.5 + normal(4).abs()], 4),
        # So wide that no pair is near the edge, where the correlation has a kink.
        "kernel_points": ([normal(4, dim), torch.tensor(20.0, dtype=torch.float64)], 4),
        "fourier_mlp": ([normal(dim, 3), normal(4, 7), normal(4)], 5),
        "radial_mlp": ([normal(4).abs(), 0.5 + normal(4).abs(), normal(3, 4), normal(3)], 4),
        "spline_linear": ([normal(dim, 2), 0.5 + normal(dim).abs()], 2**dim),
        "spline_quadratic": ([normal(dim, 2), 0.5 + normal(dim).abs()], 2**dim),
        "spline_cubic": ([normal(dim, 2), 0.5 + normal(dim).abs()], 2**dim),
        "given": ([normal(num_pairs, 3)], 3),
    }[basis]


def _make_case(
    counts=(3, 0, 1, 4, 2),
    num_sources=9,
    *,
    in_channels=4,
    out_channels=6,
    dim=3,
    basis="mlp_silu",
    window="none",
    reduce="mean",
    depthwise=False,
    extents=False,
    seed=0,
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    counts = torch.as_tensor(counts, dtype=torch.int64)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    num_pairs = int(offsets[-1])
    indices = torch.randint(max(num_sources, 1), (num_pairs,), generator=generator)
    parameters, width = _basis_parameters(basis, dim, num_pairs, normal)
    tensors = {
        "features": normal(num_sources, in_channels),
        "source_positions": normal(num_sources, dim),
        "query_positions": normal(len(counts), dim),
        "weight": normal(width, in_channels) if depthwise else normal(width, in_channels, out_channels),
    }
    tensors |= {f"basis.{place}": parameter for place, parameter in enumerate(parameters)}
    if window == "gaussian":
        tensors["window.0"] = torch.tensor(-0.4, dtype=torch.float64)
    if extents:
        tensors["extents"] = 4.0 + normal(len(counts)).abs()
    if reduce == "density":
        tensors["density"] = 0.5 + normal(num_sources).abs()
    options = {"basis": basis, "window": window, "reduce": reduce}
    return Case(tensors, indices, offsets, options).to(torch.float64)


def _assert_same(results, expected, tolerance):
    """Every named tensor: pointwise maximum and root mean square of the difference, relative to what is expected."""
    assert results.keys() == expected.keys()
    for name, want in expected.items():
        value, want = results[name].detach().double(), want.detach().double()
        assert value.shape == want.shape, name
        if want.numel() == 0:
            continue
        difference = value - want
        scale = want.abs().max().clamp_min(1e-30)
        pointwise = (difference.abs().max() / scale).item()
        rms = (difference.square().mean().sqrt() / want.square().mean().sqrt().clamp_min(1e-30)).item()
        assert pointwise <= tolerance, f"{name}: pointwise maximum {pointwise:.2e}, relative RMS {rms:.2e}"
        assert rms <= tolerance, f"{name}: relative RMS {rms:.2e}, pointwise maximum {pointwise:.2e}"


@pytest.fixture(params=IMPLEMENTATIONS)
def impl(request):
    """Every implementation there is."""
    return request.param


@pytest.fixture(scope="session")
def make_case():
    return _make_case


@pytest.fixture(scope="session")
def assert_same():
    return _assert_same

"""Every implementation against the definition: a loop over pairs with an explicit kernel."""

import itertools

import pytest
import torch
from torch.nn import functional

from gridless.ops.convolution.basis import BASES

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
ACTIVATIONS = {"mlp_relu": torch.relu, "mlp_silu": functional.silu, "mlp_gelu": functional.gelu, "mlp_sine": torch.sin}


def phi_of_pair(basis, parameters, z, pair):
    """φ(z) [H] of one pair."""
    if basis == "given":
        return parameters[0][pair]
    if basis == "fourier":
        phase = parameters[0].T @ z
        return torch.cat([phase.cos(), phase.sin(), z.new_ones(1)])
    if basis == "gaussian_radial":
        centers, widths = parameters
        return torch.exp(-((z.norm() - centers) ** 2) / (2 * widths**2))
    if basis == "kernel_points":
        points, influence = parameters
        return torch.stack([(1 - (z - point).norm() / influence).clamp_min(0) for point in points])
    if basis.startswith("spline"):
        knots, spacings = parameters
        spline = {"spline_linear": 1, "spline_quadratic": 2, "spline_cubic": 3}[basis]
        factors = [[b_spline((z[d] - knot) / spacings[d], spline) for knot in knots[d]] for d in range(len(z))]
        return torch.stack([torch.stack(product).prod() for product in itertools.product(*factors)])
    if basis in ("fourier_mlp", "radial_mlp"):
        features, num_parameters = {"fourier_mlp": ("fourier", 1), "radial_mlp": ("gaussian_radial", 2)}[basis]
        z = phi_of_pair(features, parameters[:num_parameters], z, pair)
        return phi_of_pair("mlp_silu", parameters[num_parameters:], z, pair)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        z = ACTIVATIONS[basis](weight @ z + bias)
    return torch.cat([z, z.new_ones(1)])


def b_spline(u, degree):
    """Cox and de Boor's recursion for the spline of uniform knots around 0."""
    if degree == 0:
        return ((u >= -0.5) & (u < 0.5)).to(u.dtype)
    middle = (degree + 1) / 2
    return ((middle + u) * b_spline(u + 0.5, degree - 1) + (middle - u) * b_spline(u - 0.5, degree - 1)) / degree


def window_of_pair(window, parameters, distance, extent):
    if window == "gaussian":
        return torch.exp(-((distance / (extent * parameters[0].exp())) ** 2) / 2)
    return (1 - (distance / extent) ** 2).clamp_min(0) ** 3 if window == "polynomial" else 1.0


def loop(case):
    """out_i = s_i Σ_j w(|z| / extent) Σ_h φ_h(z) W_h f_j / p_j, one pair after the other."""
    tensors, options = case.tensors, case.options
    parameters = [tensors[name] for name in tensors if name.startswith("basis.")]
    window_parameters = [tensors[name] for name in tensors if name.startswith("window.")]
    out = []
    for row, x in enumerate(tensors["query_positions"]):
        pairs = range(int(case.offsets[row]), int(case.offsets[row + 1]))
        total = torch.zeros(tensors["weight"].shape[-1], dtype=x.dtype)
        relative = [x - tensors["source_positions"][case.indices[pair]] for pair in pairs]
        if pairs:
            extent = tensors["extents"][row] if "extents" in tensors else torch.stack(relative).norm(dim=1).max()
        for pair, z in zip(pairs, relative, strict=True):
            source = case.indices[pair]
            phi = phi_of_pair(options["basis"], parameters, z, pair)
            phi = phi * window_of_pair(options["window"], window_parameters, z.norm(), extent)
            kernel = sum(value * matrix for value, matrix in zip(phi, tensors["weight"], strict=True))
            feature = tensors["features"][source]
            value = feature @ kernel if kernel.ndim == 2 else feature * kernel
            total = total + (value / tensors["density"][source] if options["reduce"] == "density" else value)
        out.append(total if options["reduce"] == "sum" or not pairs else total / len(pairs))
    return torch.stack(out)


def assert_equals_loop(case, impl, dtype, assert_same):
    """In both dtypes against the loop in float64, on the same (rounded) inputs."""
    case = case.to(dtype)
    exact = case.to(torch.float64)
    results, expected = case.results(case.run(impl)), exact.results(loop(exact))
    assert results["output"].dtype == dtype
    assert_same(results, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reduce", ["mean", "sum", "density"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("window", "extents"), [("none", False), *itertools.product(["gaussian", "polynomial"], [False, True])]
)
def test_reductions_windows_and_kinds_of_kernel(
    reduce, window, depthwise, extents, dtype, impl, make_case, assert_same
):
    case = make_case(reduce=reduce, window=window, depthwise=depthwise, extents=extents)
    assert_equals_loop(case, impl, dtype, assert_same)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("basis", [*(name for name in BASES if not name.startswith("example_")), "given"])
def test_bases(basis, depthwise, dtype, impl, make_case, assert_same):
    assert_equals_loop(make_case(basis=basis, depthwise=depthwise, window="gaussian"), impl, dtype, assert_same)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dim", [1, 2, 6])
def test_dimensions(dim, dtype, impl, make_case, assert_same):
    assert_equals_loop(make_case(dim=dim, window="gaussian"), impl, dtype, assert_same)

"""Families of kernels, and kernels of positions and of features of pairs, against plain loops."""

import pytest
import torch

from gridless.neighbors import AllPairs, knn
from gridless.nn import ContinuousConv, ConvBlock, FourierFeatures, GaussianRadial, KernelPoints, SplineGrid

FAMILIES = {
    "radial": lambda: GaussianRadial(6, cutoff=2.0),
    "radial MLP": lambda: GaussianRadial(6, cutoff=2.0, hidden=(5, 4)),
    "Fourier": lambda: FourierFeatures(2, 5, spread=1.5, learned=True),
    "Fourier MLP": lambda: FourierFeatures(2, 5, spread=1.5, hidden=(4,)),
    "kernel points": lambda: KernelPoints(torch.randn(5, 2), influence=1.5),
    "splines": lambda: SplineGrid(2, 4, degree=3),
}


def inputs(n=9, m=6, dim=2):
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, 3), (n, dim), (m, dim))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def gradients(out, tensors):
    return torch.autograd.grad(out.sin().sum(), tensors)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("factorized", [False, True])
def test_output_and_gradients_are_those_of_the_kernel(family, factorized):
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, dim=2, basis=FAMILIES[family](), factorized=factorized, scale=1.5).double()
    features, sources, queries = arguments = inputs()
    rows = knn(sources, queries, 4)
    kernels = conv.kernel_at(queries[rows.query_indices()] - sources[rows.indices])
    messages = torch.einsum("eoc,ec->eo", kernels, features[rows.indices])
    expected = conv.bias + messages.unflatten(0, (6, 4)).mean(dim=1)
    ours = conv(features, sources, queries, rows)
    torch.testing.assert_close(ours, expected)
    wanted = [*arguments, *(parameter for parameter in conv.parameters() if parameter.requires_grad)]
    for mine, theirs in zip(gradients(ours, wanted), gradients(expected, wanted), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_radial_kernels_do_not_turn():
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, dim=2, basis=GaussianRadial(6, cutoff=2.0, hidden=(8,))).double()
    features, sources, queries = inputs()
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64)).Q
    every = AllPairs(9, 6)
    turned = conv(features, sources @ turn, queries @ turn, every)
    torch.testing.assert_close(turned, conv(features, sources, queries, every))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_splines_add_up_to_one_inside(degree):
    conv = ContinuousConv(1, 1, dim=2, basis=SplineGrid(2, 9, degree=degree)).double()
    torch.nn.init.ones_(conv.weight)
    inside = 0.7 * (2 * torch.rand(50, 2, dtype=torch.float64) - 1)
    torch.testing.assert_close(conv.kernel_at(inside), torch.ones(50, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("kernel_inputs", ["offset", "positions", "both"])
@pytest.mark.parametrize("num_features", [0, 2])
def test_what_the_kernel_sees(kernel_inputs, num_features):
    torch.manual_seed(0)
    settings = {"activation": "silu", "kernel_inputs": kernel_inputs, "pair_features": num_features}
    conv = ContinuousConv(3, 4, dim=2, hidden=(6, 5), scale=2.0, **settings).double()
    features, sources, queries = arguments = inputs()
    rows = knn(sources, queries, 4)
    attributes = torch.randn(rows.num_pairs, num_features, dtype=torch.float64).requires_grad_()
    x, y = queries[rows.query_indices()] / 2, sources[rows.indices] / 2
    seen = {"offset": [x - y], "positions": [x, y], "both": [x - y, x, y]}[kernel_inputs]
    hidden = torch.cat([*seen, attributes], dim=1)
    for layer in conv.kernel_layers:
        hidden = torch.nn.functional.silu(layer(hidden))
    kernels = torch.einsum("eh,hco->eoc", torch.nn.functional.pad(hidden, (0, 1), value=1.0), conv.weight)
    messages = torch.einsum("eoc,ec->eo", kernels, features[rows.indices])
    expected = conv.bias + messages.unflatten(0, (6, 4)).mean(dim=1)
    ours = conv(features, sources, queries, rows, pair_features=attributes if num_features else None)
    torch.testing.assert_close(ours, expected)
    wanted = [*arguments, *conv.parameters(), *([attributes] if num_features else [])]
    for mine, theirs in zip(gradients(ours, wanted), gradients(expected, wanted), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", [*FAMILIES, None])
def test_all_that_training_changes_is_reset(family):
    conv = ContinuousConv(3, 4, dim=2, window="gaussian", basis=None if family is None else FAMILIES[family]())
    before = {name: parameter.detach().clone() for name, parameter in conv.named_parameters()}
    with torch.no_grad():
        for parameter in conv.parameters():
            if parameter.requires_grad:
                parameter.fill_(100.0)
    conv.reset_parameters()
    for name, parameter in conv.named_parameters():
        assert parameter.abs().max() < 20, name
        same = name in ("bias", "window_log_width") or not parameter.requires_grad
        assert torch.equal(parameter, before[name]) == same, name


def test_a_new_layer_takes_a_basis_as_it_is():
    basis = FourierFeatures(2, 5, spread=1.5, hidden=(4,), learned=True)
    before = [parameter.detach().clone() for parameter in basis.basis_parameters()]
    ContinuousConv(3, 4, dim=2, basis=basis)
    assert all(torch.equal(*pair) for pair in zip(basis.basis_parameters(), before, strict=True))


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="window needs kernel_inputs='offset'"):
        ContinuousConv(3, 4, window="gaussian", kernel_inputs="both")
    with pytest.raises(ValueError, match="kernel_inputs must be one of"):
        ContinuousConv(3, 4, kernel_inputs="sources")
    with pytest.raises(ValueError, match="basis is of 2 inputs, but the kernel has 6"):
        ContinuousConv(3, 4, kernel_inputs="positions", basis=SplineGrid(2, 3))
    features, sources, queries = (tensor.float() for tensor in inputs())
    rows = knn(sources, queries, 4)
    conv = ContinuousConv(3, 4, dim=2, pair_features=2)
    for bad in (None, torch.zeros(rows.num_pairs, 3)):
        with pytest.raises(ValueError, match=r"pair_features must be \[E = 24, P = 2\]"):
            conv(features, sources, queries, rows, pair_features=bad)
    with pytest.raises(ValueError, match="needs Neighborhoods, got AllPairs"):
        conv(features, sources, queries, AllPairs(9, 6))
    with pytest.raises(ValueError, match="not a function of the offset"):
        conv.kernel_at(sources)
    with pytest.raises(ValueError, match="degree 1, 2 or 3"):
        SplineGrid(2, 3, degree=4)
    with pytest.raises(ValueError, match=r"H, D >= 1 and influence positive, got \(0, 3\) and 1.0"):
        KernelPoints(torch.zeros(0, 3), 1.0)
    with pytest.raises(TypeError, match=r"ContinuousConv: basis must be a KernelBasis .*got 'fourier'"):
        ContinuousConv(3, 4, basis="fourier")
    with pytest.raises(
        TypeError, match=r"ConvBlock: basis must be a function that makes a KernelBasis, .*got Gaussian"
    ):
        ConvBlock(3, 4, basis=GaussianRadial(2, 1.0))
    with pytest.raises(ValueError, match="2 centers"):
        GaussianRadial(1, 1.0)


@pytest.mark.parametrize("kernel_inputs", ["offset", "both"])
def test_pair_features_beside_double_positions_and_in_a_narrow_layer(kernel_inputs):
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, dim=2, pair_features=2, kernel_inputs=kernel_inputs, scale=2.0)
    features, sources, queries = (tensor.detach().float() for tensor in inputs())
    rows = knn(sources, queries, 4)
    attributes = torch.randn(rows.num_pairs, 2)
    expected = conv(features, sources, queries, rows, pair_features=attributes)
    double = conv(features, sources.double(), queries.double(), rows, pair_features=attributes)
    torch.testing.assert_close(double, expected)
    narrow = conv.bfloat16()(features.bfloat16(), sources, queries, rows, pair_features=attributes)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), expected, rtol=0.05, atol=0.05)

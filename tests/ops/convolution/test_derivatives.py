"""Derivatives of first, second and third order by finite differences, and second order against the reference."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gridless.ops.convolution import blocks

RAGGED, UNIFORM = (2, 0, 3, 1), (2, 2, 2)
SMALL = {"counts": RAGGED, "num_sources": 4, "in_channels": 2, "out_channels": 3, "dim": 2}
SMOOTH = [
    "mlp_silu",
    "mlp_gelu",
    "mlp_sine",
    "fourier",
    "gaussian_radial",
    "kernel_points",
    "fourier_mlp",
    "radial_mlp",
    "given",
]


def function_of_tensors(case, impl):
    """The convolution as a function of its differentiable tensors alone, and those tensors."""

    def function(*values):
        return case.with_tensors(**dict(zip(case.tensors, values, strict=True))).run(impl)

    return function, tuple(case.tensors.values())


@pytest.mark.parametrize(
    ("basis", "aggregates_first", "counts"),
    [
        *((basis, True, RAGGED) for basis in SMOOTH),
        ("mlp_silu", False, RAGGED),
        ("given", False, UNIFORM),
        ("fourier", False, UNIFORM),
        ("fourier", True, UNIFORM),
    ],
)
def test_first_and_second_order(basis, aggregates_first, counts, make_case, monkeypatch):
    monkeypatch.setattr(blocks.Problem, "aggregates_first", lambda problem: aggregates_first)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 40)
    case = make_case(**SMALL | {"counts": counts}, basis=basis, window="gaussian", reduce="density")
    function, tensors = function_of_tensors(case, "blocked")
    assert gradcheck(function, tensors, fast_mode=True)
    assert gradgradcheck(function, tensors, fast_mode=True)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("window", "extents"),
    [("none", False), ("gaussian", False), ("gaussian", True), ("polynomial", False), ("polynomial", True)],
)
def test_every_entry_of_the_derivatives(extents, window, depthwise, impl, make_case):
    """Not along one random direction, as above, but entry by entry (where that takes less than minutes)."""
    case = make_case(**SMALL, window=window, extents=extents, depthwise=depthwise)
    function, tensors = function_of_tensors(case, impl)
    assert gradcheck(function, tensors, fast_mode=impl == "triton")
    # Second derivatives are the same code for all; those of the interpreter's first ones take long.
    if impl != "triton":
        assert gradgradcheck(function, tensors, fast_mode=window != "gaussian" or not extents)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("wanted", [{"features"}, {"source_positions"}, {"weight", "basis.1"}, {"window.0", "extents"}])
def test_second_order_of_some_inputs_only(wanted, depthwise, make_case):
    case = make_case(**SMALL, window="gaussian", extents=True, depthwise=depthwise)
    for name, tensor in case.tensors.items():
        tensor.requires_grad_(name in wanted)
    function, tensors = function_of_tensors(case, "blocked")
    assert gradcheck(function, tensors)
    assert gradgradcheck(function, tensors)


@pytest.mark.parametrize("depthwise", [False, True])
def test_third_order(depthwise, make_case):
    case = make_case(**SMALL, window="gaussian", reduce="density", depthwise=depthwise)
    function, tensors = function_of_tensors(case, "blocked")

    def gradient(*values):
        out = function(*values)
        return torch.autograd.grad(out.square().sum(), values, create_graph=True)

    assert gradgradcheck(gradient, tensors, fast_mode=True)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("block_elements", [10, 10_000])
def test_gradient_penalty_equals_that_of_the_reference(block_elements, depthwise, make_case, monkeypatch, assert_same):
    """Second order as it is used: the gradient of a norm of gradients, in many blocks and in one."""
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", block_elements)
    case = make_case([5, 0, 1, 9, 2, 2], 8, window="gaussian", basis="mlp_relu", depthwise=depthwise)

    def penalty_gradients(impl):
        out = case.run(impl)
        first = torch.autograd.grad(out.square().sum(), list(case.tensors.values()), create_graph=True)
        penalty = sum(gradient.square().sum() for gradient in first)
        second = torch.autograd.grad(penalty, list(case.tensors.values()))
        return {f"penalty's gradient of {name}": value for name, value in zip(case.tensors, second, strict=True)}

    assert_same(penalty_gradients("blocked"), penalty_gradients("reference"), 1e-12)


def test_second_order_where_only_some_gradients_are_used(make_case, assert_same):
    """Autograd passes None for the gradients that nobody differentiates."""
    case = make_case(window="gaussian")

    def second(impl):
        grad_features = torch.autograd.grad(
            case.run(impl).square().sum(), [case.tensors["features"], case.tensors["weight"]], create_graph=True
        )[0]
        names = ["features", "query_positions", "weight"]
        gradients = torch.autograd.grad(grad_features.square().sum(), [case.tensors[name] for name in names])
        return dict(zip(names, gradients, strict=True))

    assert_same(second("blocked"), second("reference"), 1e-12)


@pytest.mark.parametrize("window", ["gaussian", "polynomial"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_support_of_extent_zero_has_finite_derivatives(window, dtype, impl, make_case):
    """All points of the support coincide with the query: nothing to divide by."""
    case = make_case([2], 2, window=window).to(dtype)
    same = torch.ones(2, 3, dtype=dtype)
    case = case.with_tensors(source_positions=same.clone(), query_positions=same[:1].clone()).to(dtype)
    first = torch.autograd.grad(case.run(impl).square().sum(), list(case.tensors.values()), create_graph=True)
    penalty = sum(gradient.square().sum() for gradient in first)
    second = torch.autograd.grad(penalty, list(case.tensors.values()), materialize_grads=True)
    assert first[0].abs().max() > 0
    for name, *gradients in zip(case.tensors, first, second, strict=True):
        assert all(gradient.isfinite().all() for gradient in gradients), name


def test_threads_take_second_derivatives_side_by_side(impl, make_case):
    if impl == "triton":
        pytest.skip("Triton's interpreter is of one thread")

    def second_derivatives(seed):
        case = make_case(seed=seed, basis="mlp_silu")
        positions = case.tensors["source_positions"]
        (first,) = torch.autograd.grad(case.run(impl).square().sum(), positions, create_graph=True)
        return torch.autograd.grad(first.square().sum(), positions)[0]

    expected = [second_derivatives(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for value, want in zip(threads.map(second_derivatives, range(4)), expected, strict=True):
                torch.testing.assert_close(value, want, rtol=1e-12, atol=0)

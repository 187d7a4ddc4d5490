"""The three operators of the pair primitive against loops, and their derivatives of first and second order."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gridless import native
from gridless.ops import pair_loop
from gridless.ops.weighted_sum import pair_dots, weighted_scatter, weighted_sum

NUM_SOURCES, CHANNELS = 6, 3


def rows(name):
    """indices [E] and offsets [M + 1]."""
    return {
        "ragged": (torch.tensor([0, 1, 5, 5, 2, 3]), torch.tensor([0, 2, 2, 5, 6])),
        "equal": (torch.tensor([0, 1, 5, 5, 2, 3]), torch.tensor([0, 2, 4, 6])),
        "empty": (torch.empty(0, dtype=torch.int64), torch.tensor([0, 0, 0])),
    }[name]


def inputs(name, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    indices, offsets = rows(name)
    features = torch.randn(NUM_SOURCES, CHANNELS, generator=generator, dtype=dtype)
    at_rows = torch.randn(len(offsets) - 1, CHANNELS, generator=generator, dtype=dtype)
    weights = torch.randn(len(indices), generator=generator, dtype=dtype)
    return features, at_rows, weights, indices, offsets


def operators(name, dtype=torch.float64):
    """Name of the operator → (operator, its two differentiable arguments, the rest)."""
    features, at_rows, weights, indices, offsets = inputs(name, dtype)
    return {
        "sum": (weighted_sum, (features, weights), (indices, offsets)),
        "scatter": (weighted_scatter, (at_rows, weights), (indices, offsets, NUM_SOURCES)),
        "dots": (pair_dots, (at_rows, features), (indices, offsets)),
    }


@pytest.mark.parametrize("name", ["ragged", "equal", "empty"])
def test_each_equals_a_loop_over_pairs(name):
    features, at_rows, weights, indices, offsets = inputs(name)
    sums, scattered = torch.zeros_like(at_rows), torch.zeros_like(features)
    dots = torch.zeros_like(weights)
    for row in range(len(offsets) - 1):
        for pair in range(offsets[row], offsets[row + 1]):
            source = indices[pair]
            sums[row] += weights[pair] * features[source]
            scattered[source] += weights[pair] * at_rows[row]
            dots[pair] = features[source] @ at_rows[row]
    torch.testing.assert_close(weighted_sum(features, weights, indices, offsets), sums)
    torch.testing.assert_close(weighted_scatter(at_rows, weights, indices, offsets, NUM_SOURCES), scattered)
    torch.testing.assert_close(pair_dots(at_rows, features, indices, offsets), dots)


@pytest.mark.parametrize("name", ["ragged", "equal", "empty"])
@pytest.mark.parametrize("operator", ["sum", "scatter", "dots"])
def test_derivatives_of_first_and_second_order(operator, name):
    function, differentiable, rest = operators(name)[operator]
    leaves = tuple(tensor.requires_grad_() for tensor in differentiable)
    assert gradcheck(lambda a, b: function(a, b, *rest), leaves)
    assert gradgradcheck(lambda a, b: function(a, b, *rest), leaves)


@pytest.mark.parametrize("name", ["ragged", "empty"])
@pytest.mark.parametrize("operator", ["sum", "scatter", "dots"])
def test_registered_as_torch_asks(operator, name):
    function, differentiable, rest = operators(name)[operator]
    torch.library.opcheck(function.overload, (*(tensor.requires_grad_() for tensor in differentiable), *rest))


@pytest.mark.parametrize("operator", ["sum", "scatter", "dots"])
def test_layout_of_memory_does_not_matter(operator):
    function, (first, second), rest = operators("ragged")[operator]
    expected = function(first, second, *rest)
    assert torch.equal(function(first.T.contiguous().T, second, *rest), expected)


def test_bfloat16_sums_are_rounded_once():
    features = torch.ones(3, 1, dtype=torch.bfloat16)
    third = torch.full((3,), 1 / 3)
    out = weighted_sum(features, third, torch.tensor([0, 1, 2]), torch.tensor([0, 3]))
    assert out.dtype == torch.bfloat16
    assert out.item() == 1.0


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_of_no_channels_have_no_gradient(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "runs_on", lambda values: False)
    features, weights = torch.zeros(4, 0, requires_grad=True), torch.ones(4, requires_grad=True)
    out = weighted_sum(features, weights, torch.arange(4), torch.tensor([0, 4]))
    gradients = torch.autograd.grad(out.sum(), (features, weights))
    assert (out.shape, gradients[0].shape, gradients[1].tolist()) == ((1, 0), (4, 0), [0.0] * 4)


@pytest.mark.parametrize("channels", [1, 7, 16, 23, 64, 100])
@pytest.mark.parametrize("apart", [False, True])
def test_compiled_sums_equal_those_of_torch(channels, apart, monkeypatch):
    """Where threads add to sums of their own and where they do not, and for whole and broken vectors of channels."""
    generator = torch.Generator().manual_seed(2)
    offsets = torch.cat([torch.zeros(1), torch.randint(0, 5, (3000,), generator=generator).cumsum(0)]).long()
    indices = torch.randint(0, 700, (int(offsets[-1]),), generator=generator)
    features, at_rows = (torch.randn(n, channels, generator=generator) for n in (700, 3000))
    weights = torch.randn(len(indices), generator=generator)
    calls = [
        lambda: weighted_sum(features, weights, indices, offsets),
        lambda: weighted_scatter(at_rows, weights, indices, offsets, 700),
        lambda: pair_dots(at_rows, features, indices, offsets),
    ]
    monkeypatch.setattr(pair_loop, "_MOST_COPIED", 2**24 if apart else -1)
    compiled = [call() for call in calls]
    monkeypatch.setattr(native, "runs_on", lambda values: False)
    for call, got in zip(calls, compiled, strict=True):
        torch.testing.assert_close(got, call(), rtol=1e-4, atol=1e-5)


def test_sums_of_long_rows_keep_their_digits():
    indices, offsets = torch.arange(2**25) % 4, torch.tensor([0, 2**25])
    assert weighted_sum(torch.ones(4, 1), torch.ones(2**25), indices, offsets).item() == 2**25

"""Inverse-distance interpolation against a loop: values, gradients, queries on sources, independence of clouds."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gridless import native
from gridless.neighbors import knn
from gridless.ops.interpolation import interpolate
from gridless.ops.interpolation.weights import inverse_distance_weights

INDICES, OFFSETS = torch.tensor([0, 1, 2, 4, 3, 3, 1, 0]), torch.tensor([0, 3, 3, 5, 8])


def loop(features, sources, queries, indices, offsets, power):
    out = []
    for row in range(len(offsets) - 1):
        total, weighted = 0.0, features.new_zeros(features.shape[1])
        for pair in range(offsets[row], offsets[row + 1]):
            weight = (queries[row] - sources[indices[pair]]).norm() ** -power
            total, weighted = total + weight, weighted + weight * features[indices[pair]]
        out.append(weighted / total if offsets[row] < offsets[row + 1] else weighted)
    return torch.stack(out)


def random_inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 3), (5, 2), (4, 2)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_output_and_every_gradient_equal_a_loop(power):
    inputs = random_inputs()
    out = interpolate(*inputs, INDICES, OFFSETS, power)
    expected = loop(*inputs, INDICES, OFFSETS, power)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    pairs = zip(
        torch.autograd.grad(out.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    )
    for name, (gradient, wanted) in zip(("features", "source positions", "query positions"), pairs, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10, msg=lambda text, n=name: f"{n}: {text}")


def test_derivatives_of_first_and_second_order():
    inputs = random_inputs()
    assert gradcheck(lambda f, y, x: interpolate(f, y, x, INDICES, OFFSETS), inputs)
    assert gradgradcheck(lambda f, y, x: interpolate(f, y, x, INDICES, OFFSETS), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.1, 1.0, 2.0, 4.0])
def test_a_query_on_a_source_takes_its_value(dtype, power):
    features, sources = (
        torch.tensor([[1.0], [20.0], [300.0]], dtype=dtype),
        torch.tensor([[0.0], [1.0], [1000.0]]).to(dtype),
    )
    sources.requires_grad_()
    queries = sources.detach().clone().requires_grad_()
    rows = knn(sources.detach(), queries.detach(), 3)
    out = interpolate(features, sources, queries, rows.indices, rows.offsets, power)
    torch.testing.assert_close(out, features)
    first = torch.autograd.grad(out.sum(), (sources, queries), create_graph=True)
    second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), (sources, queries))
    assert all(gradient.isfinite().all() for gradient in (*first, *second))


def test_beside_a_source_on_the_query_others_count_for_nothing():
    """Not for a denormal number either, with which products take a hundred times as long."""
    features, sources = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.5]])
    out = interpolate(features, sources, torch.tensor([[1.0]]), torch.tensor([0, 1]), torch.tensor([0, 2]))
    assert out.tolist() == [[0.0]]


def test_two_sources_on_the_query_share_it():
    features, sources = torch.tensor([[1.0], [3.0], [50.0]]), torch.tensor([[2.0], [2.0], [5.0]])
    out = interpolate(features, sources, torch.tensor([[2.0]]), torch.tensor([0, 1, 2]), torch.tensor([0, 3]))
    torch.testing.assert_close(out, torch.tensor([[2.0]]))


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e12])
def test_the_unit_of_length_does_not_matter(unit):
    features, sources, queries = (tensor.detach().float() for tensor in random_inputs())
    expected = interpolate(features, sources, queries, INDICES, OFFSETS)
    torch.testing.assert_close(
        interpolate(features, sources * unit, queries * unit, INDICES, OFFSETS), expected, rtol=1e-5, atol=1e-5
    )


def test_empty_rows_and_no_sources_give_zeros():
    features, sources, queries = random_inputs()
    assert (interpolate(features, sources, queries, INDICES, OFFSETS)[1] == 0).all()
    nothing, offsets = torch.empty(0, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)
    assert torch.equal(interpolate(features[:0], sources[:0], queries, nothing, offsets), torch.zeros(4, 3).double())


def test_bfloat16_features_keep_their_digits():
    features, sources, queries = (tensor.detach().float() for tensor in random_inputs())
    exact = interpolate(features.bfloat16().float(), sources, queries, INDICES, OFFSETS)
    assert torch.equal(interpolate(features.bfloat16(), sources, queries, INDICES, OFFSETS), exact.bfloat16())


def test_other_clouds_do_not_matter():
    coarse, fine = torch.rand(6, 3), torch.rand(20, 3)
    features = torch.randn(6, 4)
    alone = knn(coarse[:3], fine[:10], 3)
    together = knn(coarse, fine, 3, torch.arange(6) // 3, torch.arange(20) // 10)
    expected = interpolate(features[:3], coarse[:3], fine[:10], alone.indices, alone.offsets)
    assert torch.equal(interpolate(features, coarse, fine, together.indices, together.offsets)[:10], expected)


@pytest.mark.parametrize("unit", [300.0, 0.002])
def test_float16_positions_whose_squares_do_not_fit(unit):
    features, sources = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]]) * unit
    query, rows = torch.tensor([[-0.25]]) * unit, (torch.tensor([0, 1]), torch.tensor([0, 2]))
    half = [tensor.half() for tensor in (sources, query)]
    expected = interpolate(features, *(tensor.float() for tensor in half), *rows)
    torch.testing.assert_close(interpolate(features, *half, *rows), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.5, 2.0, 8.0])
def test_compiled_weights_equal_those_of_torch(dtype, power, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    sources, queries = (torch.randn(count, 3, generator=generator, dtype=dtype) for count in (5000, 9000))
    queries[:50] = sources[:50]  # on a source
    sources[60:70] = sources[60]  # and on several
    queries[60:70] = sources[60]
    queries[80:90] += 1e6  # so far that only the nearest counts
    rows = knn(sources, queries, 3)
    arguments = (sources, queries, rows.indices, rows.offsets, power)
    compiled = inverse_distance_weights(*arguments)
    monkeypatch.setattr(native, "runs_on", lambda values: False)
    expected = inverse_distance_weights(*arguments)
    assert compiled.dtype == expected.dtype == dtype
    torch.testing.assert_close(compiled, expected, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=0)


def test_weights_are_registered_as_torch_asks():
    _, sources, queries = random_inputs()
    torch.library.opcheck(inverse_distance_weights.overload, (sources, queries, INDICES, OFFSETS, 2.0))


@pytest.mark.parametrize("index", [-1, 5])
def test_sources_that_are_not_there(index):
    features, sources, queries = random_inputs()
    indices = INDICES.clone()
    indices[3] = index
    with pytest.raises(IndexError, match=r"indices must lie in \[0, 5\)"):
        interpolate(features, sources, queries, indices, OFFSETS)


@pytest.mark.parametrize("unit", [1.2e-19, 2e-19])
def test_gradients_where_inverse_squares_overflow(unit):
    features, sources, queries = (tensor.detach().float() for tensor in random_inputs())
    positions = [(tensor * unit).requires_grad_() for tensor in (sources, queries)]
    out = interpolate(features, *positions, INDICES, OFFSETS, 8.0)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), positions))


def test_power_has_no_gradient():
    with pytest.raises(TypeError, match="power is a number"):
        interpolate(*random_inputs(), INDICES, OFFSETS, torch.tensor(2.0, requires_grad=True))

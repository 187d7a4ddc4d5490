"""The layer on all pairs, on stretched axes, and with weights of a quadrature."""

import math

import pytest
import torch

from gridless.neighbors import (
    AllPairs,
    all_pairs,
    knn,
    periodic_images,
    preceding,
    supports,
    within_radius,
    wrap_into_box,
)
from gridless.nn import ContinuousConv


def inputs(n=7, m=5, dim=2):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(n, 3, generator=generator), torch.randn(n, dim, generator=generator)]
    tensors.append(torch.randn(m, dim, generator=generator))
    return [tensor.double().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("window", [None, "gaussian"])
def test_all_pairs_in_blocks_equal_explicit_rows_with_first_and_second_derivatives(window, monkeypatch):
    monkeypatch.setattr(supports.AllPairs.blocks, "__defaults__", (2 * 7,))
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, dim=2, hidden=(8,), activation="silu", window=window).double()
    features, sources, queries = arguments = inputs()
    explicit = all_pairs(torch.zeros(7, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    extents = torch.linspace(1, 2, 5, dtype=torch.float64)
    wanted = [*arguments, *conv.parameters()]
    results = []
    for support in (AllPairs(7, 5), explicit):
        out = conv(features, sources, queries, support, extents=extents if window else None)
        first = torch.autograd.grad(out.sin().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(grad.square().sum() for grad in first), wanted)
        results.append([out, *first, *second])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_all_pairs_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="7 sources and 4 queries"):
        ContinuousConv(3, 4, dim=2).double()(*inputs(), AllPairs(7, 4))


def test_extents_of_all_pairs_fit_the_queries():
    conv = ContinuousConv(3, 4, dim=2, window="gaussian", scale=2.0).double()
    one = conv(*inputs(), AllPairs(7, 5), extents=torch.tensor(1.5))
    torch.testing.assert_close(one, conv(*inputs(), AllPairs(7, 5), extents=torch.full((5,), 1.5)))
    with pytest.raises(ValueError, match=r"ContinuousConv: extents must be a number or \[M = 5\], got shape \(6,\)"):
        conv(*inputs(), AllPairs(7, 5), extents=torch.ones(6))
    with pytest.raises(ValueError, match="ContinuousConv: extents must be positive, got -1"):
        conv(*inputs(), AllPairs(7, 5), extents=-1)


def test_no_queries():
    features, sources, _ = inputs()
    assert ContinuousConv(3, 4, dim=2).double()(features, sources, sources[:0], AllPairs(7, 0)).shape == (0, 4)


@pytest.mark.parametrize("window", [None, "polynomial"])
def test_a_scale_for_each_axis_is_a_stretched_space(window):
    torch.manual_seed(0)
    stretched = ContinuousConv(3, 4, dim=2, window=window, scale=(2.0, 0.5)).double()
    plain = ContinuousConv(3, 4, dim=2, window=window).double()
    plain.load_state_dict(stretched.state_dict())
    features, sources, queries = inputs()
    scale = torch.tensor([2.0, 0.5], dtype=torch.float64)
    extents = 3.0 if window else None
    ours = stretched(features, sources, queries, AllPairs(7, 5), extents=extents)
    expected = plain(features, sources / scale, queries / scale, AllPairs(7, 5), extents=extents)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(stretched.kernel_at(queries, extents), plain.kernel_at(queries / scale, extents))


@pytest.mark.parametrize("scale", [(1.0,), (1.0, 0.0), -1.0])
def test_bad_scales(scale):
    with pytest.raises(ValueError, match=r"scale must be (positive|a finite number or 2 of them), got"):
        ContinuousConv(3, 4, dim=2, scale=scale)


def test_a_search_in_stretched_space_and_the_scale_of_the_layer_are_one_metric():
    """Space in metres and time in seconds: as if a second were four metres."""
    torch.manual_seed(0)
    features, sources, queries = inputs(n=40, dim=3)
    lengths = torch.tensor([2.0, 2.0, 0.5], dtype=torch.float64)
    rows = knn(sources / lengths, queries / lengths, 6)
    distances = ((queries[:, None] - sources) / lengths).norm(dim=2)
    assert rows.indices.view(5, 6).tolist() == distances.argsort(dim=1)[:, :6].tolist()
    conv = ContinuousConv(3, 4, scale=lengths.tolist()).double()
    ours = conv(features, sources, queries, rows)
    plain = ContinuousConv(3, 4).double()
    plain.load_state_dict(conv.state_dict())
    torch.testing.assert_close(ours, plain(features, sources / lengths, queries / lengths, rows))


def test_a_periodic_box_has_no_faces():
    """Atoms moved by whole sides, and all of them shifted together, change nothing."""
    torch.manual_seed(0)
    box, radius = [2.0, 3.0, math.inf], 0.9
    conv = ContinuousConv(3, 4, window="polynomial", reduce="sum").double()
    features, positions, queries = (tensor.detach() for tensor in inputs(n=30, dim=3))

    def convolve(positions, queries):
        indices, images = periodic_images(positions, box, radius)
        inside = wrap_into_box(queries, box)
        return conv(features[indices], images, inside, within_radius(images, inside, radius), extents=radius)

    expected = convolve(positions, queries)
    assert expected.std(dim=0).min() > 0.01
    sides = torch.randint(-3, 4, (30, 3)) * torch.tensor([2.0, 3.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(convolve(positions + sides, queries), expected)
    shift = torch.tensor([0.7, 1.9, 5.0], dtype=torch.float64)
    torch.testing.assert_close(convolve(positions + shift, queries + shift), expected)


def test_the_past_does_not_see_the_future():
    torch.manual_seed(0)
    times = torch.rand(12, 1, dtype=torch.float64).sort(dim=0).values
    features = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    conv = ContinuousConv(2, 1, dim=1).double()
    out = conv(features, times, times, preceding(times[:, 0], times[:, 0], k=4))
    for query in range(12):
        seen = torch.autograd.grad(out[query, 0], features, retain_graph=True)[0].abs().sum(dim=1) > 0
        assert seen.nonzero().flatten().tolist() == list(range(max(0, query - 3), query + 1))


def test_source_weights_multiply_the_features():
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, dim=2, reduce="sum").double()
    features, sources, queries = inputs()
    weights = torch.rand(7, dtype=torch.float64)
    ours = conv(features, sources, queries, AllPairs(7, 5), source_weights=weights)
    torch.testing.assert_close(ours, conv(features * weights[:, None], sources, queries, AllPairs(7, 5)))
    with pytest.raises(ValueError, match=r"source_weights must be \[N = 7\]"):
        conv(features, sources, queries, AllPairs(7, 5), source_weights=weights[:3])
    mean = ContinuousConv(3, 4, dim=2).double()
    with pytest.raises(ValueError, match="reduce='sum' only"):
        mean(features, sources, queries, AllPairs(7, 5), source_weights=weights)

"""Weights of quadratures, and the order with which a layer's output converges under refinement."""

import math

import pytest
import torch

from gridless.neighbors import AllPairs
from gridless.nn import ContinuousConv
from gridless.quadrature import trapezoid_weights, vertex_areas


def series(n):
    """Irregular times from 0 to 1 that get denser everywhere alike, their weights, and a smooth function on them."""
    steps = torch.linspace(0, 1, n, dtype=torch.float64)
    times = (steps + 0.1 * torch.sin(2 * math.pi * steps)).flip(0)
    return times[:, None], trapezoid_weights(times)


def mesh(n):
    """A bent square of 2 n² triangles."""
    steps = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    x, y = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
    x, y = x + 0.1 * torch.sin(math.pi * x) * y, y + 0.1 * torch.sin(math.pi * y) * x
    corner = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).flatten()
    triangles = torch.cat(
        [
            torch.stack([corner, corner + n + 1, corner + 1], 1),
            torch.stack([corner + n + 1, corner + n + 2, corner + 1], 1),
        ]
    )
    positions = torch.stack([x, y], 1)
    return positions, vertex_areas(positions, triangles)


@pytest.mark.parametrize(("sample", "sizes"), [(series, (33, 65, 129)), (mesh, (8, 16, 32))])
def test_output_converges_with_the_square_of_the_spacing(sample, sizes):
    torch.manual_seed(0)
    dim = sample(4)[0].shape[1]
    conv = ContinuousConv(1, 2, dim=dim, hidden=(8, 8), activation="silu", reduce="sum").double()
    queries = torch.rand(5, dim, dtype=torch.float64)

    def output(size):
        positions, weights = sample(size)
        features = torch.sin(3 * positions).sum(dim=1, keepdim=True)
        support = AllPairs(len(positions), len(queries))
        return conv(features, positions, queries, support, source_weights=weights).detach()

    coarse, middle, fine = (output(size) for size in sizes)
    order = math.log2((coarse - middle).norm() / (middle - fine).norm())
    assert order == pytest.approx(2.0, abs=0.1)


def test_areas_add_up_in_space_and_forget_no_dimension():
    positions, areas = mesh(4)
    assert areas.sum().item() == pytest.approx(areas.new_tensor(polygon_area(positions, 4)).item())
    turned = torch.cat([positions, 2 * positions[:, :1]], dim=1)
    corner = torch.tensor([[0, 5, 1]])
    assert vertex_areas(turned, corner).sum().item() == pytest.approx(
        math.sqrt(5) * vertex_areas(positions, corner).sum().item()
    )


def polygon_area(positions, n):
    """Shoelace formula over the boundary of the bent square."""
    grid = torch.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    boundary = torch.cat([grid[:-1, 0], grid[-1, :-1], grid[1:, -1].flip(0), grid[0, 1:].flip(0)])
    x, y = positions[boundary].T
    return (x * y.roll(-1) - y * x.roll(-1)).sum().abs().item() / 2


def test_short_series():
    assert trapezoid_weights(torch.tensor([])).tolist() == []
    assert trapezoid_weights(torch.tensor([3.0])).tolist() == [0.0]
    assert trapezoid_weights(torch.tensor([5.0, 3.0])).tolist() == [1.0, 1.0]


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"times must be \[N\]"):
        trapezoid_weights(torch.zeros(2, 1))
    with pytest.raises(ValueError, match="vertices in"):
        vertex_areas(torch.zeros(2, 2), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"\[N, 2\] or \[N, 3\]"):
        vertex_areas(torch.zeros(2, 4), torch.tensor([[0, 1, 1]]))

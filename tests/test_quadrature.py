"""Weights of quadratures, and the order with which a layer's output converges under refinement."""

import itertools
import math

import pytest
import torch

from gridless.neighbors import AllPairs
from gridless.nn import ContinuousConv
from gridless.quadrature import trapezoid_weights, vertex_areas, vertex_volumes


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


def solid(n):
    """A bent cube of 6 n³ tetrahedra: the six of a cell are the orders in which its three edges may be walked."""
    steps = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    x, y, z = (axis.flatten() for axis in torch.meshgrid(steps, steps, steps, indexing="ij"))
    x, y, z = x + 0.1 * torch.sin(math.pi * x) * y, y + 0.1 * torch.sin(math.pi * y) * z, z + 0.1 * x * y
    strides = torch.tensor([(n + 1) ** 2, n + 1, 1])
    cells = (torch.cartesian_prod(*[torch.arange(n)] * 3) * strides).sum(dim=1)
    walks = [[0, *itertools.accumulate(strides[list(order)].tolist())] for order in itertools.permutations(range(3))]
    tetrahedra = (cells[:, None, None] + torch.tensor(walks)).flatten(0, 1)
    positions = torch.stack([x, y, z], 1)
    return positions, vertex_volumes(positions, tetrahedra)


@pytest.mark.parametrize(("sample", "sizes"), [(series, (33, 65, 129)), (mesh, (8, 16, 32)), (solid, (4, 8, 16))])
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


def test_volumes_add_up_whatever_the_order_of_corners():
    # The bent cube's volume: the integral of the determinant of the map, which one axis bends for each other.
    _, volumes = solid(16)
    fine = solid(32)[1].sum().item()
    assert volumes.sum().item() == pytest.approx(fine, rel=2e-3)
    assert (volumes > 0).all()
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 2.0])] * 3)
    halves = torch.tensor([[0, 1, 3, 7], [7, 5, 1, 0], [0, 2, 3, 7], [7, 6, 2, 0], [0, 4, 5, 7], [7, 4, 6, 0]])
    assert vertex_volumes(cube, halves).sum().item() == pytest.approx(8.0)
    assert vertex_volumes(torch.zeros(3, 3), torch.zeros(0, 4, dtype=torch.int64)).tolist() == [0.0, 0.0, 0.0]


def test_short_series():
    assert trapezoid_weights(torch.tensor([])).tolist() == []
    assert trapezoid_weights(torch.tensor([3.0])).tolist() == [0.0]
    assert trapezoid_weights(torch.tensor([5.0, 3.0])).tolist() == [1.0, 1.0]


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"times must be \[N\]"):
        trapezoid_weights(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"triangles must lie in \[0, 2\), got 0 to 2"):
        vertex_areas(torch.zeros(2, 2), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"\[N, 2\] or \[N, 3\]"):
        vertex_areas(torch.zeros(2, 4), torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match=r"positions must be \[N, 3\]"):
        vertex_volumes(torch.zeros(2, 2), torch.tensor([[0, 1, 1, 0]]))
    with pytest.raises(ValueError, match=r"tetrahedra must be \[T, 4\]"):
        vertex_volumes(torch.zeros(2, 3), torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match=r"tetrahedra must lie in \[0, 2\), got 0 to 3"):
        vertex_volumes(torch.zeros(2, 3), torch.tensor([[0, 1, 1, 3]]))

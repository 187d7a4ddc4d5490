"""Layers of other fields as settings of the continuous convolution: the code of docs/any_structure.md."""

import itertools

import pytest
import torch
from torch.nn import functional

import gridless as gl
from gridless.neighbors import Neighborhoods, all_pairs, knn, local_density, within_radius
from gridless.nn import ContinuousConv, GaussianRadial, KernelPoints

DOUBLE = torch.float64


def grid(shape):
    return torch.stack(torch.meshgrid(*[torch.arange(size, dtype=DOUBLE) for size in shape], indexing="ij"), -1)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 1), (2, 1, 0), (1, 2, 2), (2, 3, 2)])
def test_discrete_convolution_on_a_grid(dim, stride, dilation, padding):
    torch.manual_seed(0)
    shape, size = (9, 8, 7)[:dim], 3
    image, weight = torch.randn(1, 2, *shape, dtype=DOUBLE), torch.randn(4, 2, *[size] * dim, dtype=DOUBLE)
    expected = (functional.conv1d, functional.conv2d, functional.conv3d)[dim - 1](
        image, weight, stride=stride, dilation=dilation, padding=padding
    )[0]

    sources = grid(shape).reshape(-1, dim)
    queries = grid(expected.shape[1:]).reshape(-1, dim) * stride - padding + dilation
    # Cells of the kernel are kernel points that reach no other cell; the offset is query − source.
    cells = torch.tensor(list(itertools.product(range(size), repeat=dim)), dtype=DOUBLE)
    basis = KernelPoints((1 - cells) * dilation, influence=0.5)
    conv = ContinuousConv(2, 4, dim=dim, basis=basis, reduce="sum", bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(weight.flatten(2).permute(2, 1, 0))
    rows = within_radius(sources, queries, dilation * dim**0.5 + 1e-9)
    out = conv(image[0].flatten(1).T, sources, queries, rows)
    torch.testing.assert_close(out.T.reshape(expected.shape), expected)


def test_pointnet_is_a_support_of_one():
    torch.manual_seed(0)
    conv = ContinuousConv(3, 5, dim=2, hidden=()).double()
    features, points = torch.randn(7, 3, dtype=DOUBLE), torch.randn(7, 2, dtype=DOUBLE)
    alone = Neighborhoods.from_lists([[i] for i in range(7)])
    linear = conv.weight[-1]  # the offset is 0, the constant remains
    torch.testing.assert_close(conv(features, points, points, alone), features @ linear + conv.bias)


def test_schnet_cfconv_has_radial_depthwise_kernels():
    torch.manual_seed(0)
    basis = GaussianRadial(16, cutoff=4.0, hidden=(8,))
    conv = ContinuousConv(6, 6, basis=basis, reduce="sum", factorized=True, bias=False).double()
    atoms, positions = torch.randn(5, 6, dtype=DOUBLE), torch.randn(5, 3, dtype=DOUBLE)
    molecules = torch.tensor([0, 0, 0, 1, 1])
    out = conv(atoms, positions, positions, all_pairs(molecules, molecules, include_self=False))

    values, expected = atoms @ conv.linear.weight.T, torch.zeros(5, 6, dtype=DOUBLE)
    for i, j in itertools.permutations(range(5), 2):
        if molecules[i] == molecules[j]:
            distance = (positions[i] - positions[j]).norm()
            expansion = torch.exp(-0.5 * ((distance - basis.centers) / basis.widths) ** 2)
            filters = functional.silu(basis.layers[0](expansion)) @ conv.weight[:-1] + conv.weight[-1]
            expected[i] += filters * values[j]
    torch.testing.assert_close(out, expected)


def test_pointconv_divides_by_the_density():
    torch.manual_seed(0)
    conv = ContinuousConv(3, 4, hidden=(8, 8), reduce="density", bias=False).double()
    features, points = torch.randn(20, 3, dtype=DOUBLE), torch.randn(20, 3, dtype=DOUBLE)
    rows, density = knn(points, points, 5), local_density(points, 4)
    out = conv(features, points, points, rows, density=density)
    for i in (0, 7, 19):
        near = rows.indices[5 * i : 5 * i + 5]
        kernel = conv.kernel_at(points[i] - points[near])
        torch.testing.assert_close(out[i], torch.einsum("koc,kc,k->o", kernel, features[near], 1 / density[near]) / 5)


def test_kpconv_correlates_with_kernel_points():
    torch.manual_seed(0)
    kernel_points = torch.randn(6, 3, dtype=DOUBLE)
    basis = KernelPoints(-kernel_points, influence=1.2)  # that field's offset is source − query
    conv = ContinuousConv(3, 4, basis=basis, reduce="sum", bias=False).double()
    features, points = torch.randn(20, 3, dtype=DOUBLE), torch.randn(20, 3, dtype=DOUBLE)
    out = conv(features, points, points, within_radius(points, points, 1.5))
    for i in (0, 7, 19):
        expected = torch.zeros(4, dtype=DOUBLE)
        for j in range(20):
            if (points[i] - points[j]).norm() <= 1.5:
                correlation = (1 - (points[j] - points[i] - kernel_points).norm(dim=1) / 1.2).clamp_min(0)
                expected += torch.einsum("h,hco,c->o", correlation, conv.weight, features[j])
        torch.testing.assert_close(out[i], expected)


def test_graph_neural_operator_sees_both_ends_and_attributes_of_edges():
    torch.manual_seed(0)
    conv = ContinuousConv(
        3, 4, dim=2, hidden=(8,), activation="gelu", kernel_inputs="positions", pair_features=1, bias=False
    ).double()
    features, points = torch.randn(6, 3, dtype=DOUBLE), torch.randn(6, 2, dtype=DOUBLE)
    edges = torch.tensor([[1, 2, 3, 5], [0, 0, 4, 4]])
    attributes = torch.randn(4, 1, dtype=DOUBLE)
    rows = gl.Neighborhoods.from_edge_index(edges, 6)
    out = conv(features, points, points, rows, pair_features=attributes)
    expected = torch.zeros(6, 4, dtype=DOUBLE)
    for (j, i), attribute in zip(edges.T.tolist(), attributes, strict=True):
        hidden = functional.gelu(conv.kernel_layers[0](torch.cat([points[i], points[j], attribute])))
        kernel = torch.einsum("h,hco->co", hidden, conv.weight[:-1]) + conv.weight[-1]
        expected[i] += features[j] @ kernel / 2
    torch.testing.assert_close(out, expected)

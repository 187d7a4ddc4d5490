"""Modules under torch.compile(fullgraph=True) and torch.export."""

import pytest
import torch
from torch import nn

from gridless.neighbors import AllPairs, Neighborhoods, knn
from gridless.nn import BottleneckBlock, ContinuousConv, ConvBlock, GlobalPool, Pool, Upsample


class SmallNetwork(nn.Module):
    """Convolution, residual block, pooling and interpolation over tensors alone."""

    def __init__(self):
        super().__init__()
        self.stem = ConvBlock(4, 8, residual=True, window="gaussian")
        self.block = BottleneckBlock(8, 4)
        self.pool = Pool("max")
        self.mean = Pool("mean")
        self.whole = GlobalPool("max")
        self.upsample = Upsample()
        self.head = ContinuousConv(16, 3, factorized=True)

    def forward(self, features, positions, indices, offsets):
        supports = Neighborhoods(indices, offsets)
        features = self.stem(features, positions, positions, supports)
        features = self.block(features, positions, supports)
        pooled = self.mean(self.pool(features, supports), supports)
        pooled = pooled + self.whole(pooled, indices.new_zeros(features.shape[0]), 1)
        carried = self.upsample(pooled, positions, positions, supports)
        return self.head(torch.cat([features, carried], dim=1), positions, positions, supports)


def inputs(num_points=30, num_neighbors=5):
    generator = torch.Generator().manual_seed(num_points)
    features = torch.randn(num_points, 4, generator=generator)
    positions = torch.randn(num_points, 3, generator=generator)
    return features, positions, knn(positions, positions, num_neighbors)


@pytest.mark.parametrize("training", [False, True])
def test_compile_without_graph_breaks(training):
    torch.manual_seed(0)
    torch._dynamo.reset()
    layer = ConvBlock(4, 8, residual=True, window="polynomial").train(training)
    features, positions, supports = inputs()
    expected = layer(features, positions, positions, supports)
    wanted = torch.autograd.grad(expected.square().sum(), list(layer.parameters()))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    out = compiled(features, positions, positions, supports)
    torch.testing.assert_close(out, expected)
    for (name, _), gradient, want in zip(
        layer.named_parameters(),
        torch.autograd.grad(out.square().sum(), list(layer.parameters())),
        wanted,
        strict=True,
    ):
        torch.testing.assert_close(gradient, want, msg=lambda text, n=name: f"{n}: {text}", rtol=1e-4, atol=1e-4)


def test_compile_pooling_and_interpolation():
    torch._dynamo.reset()
    features, positions, supports = inputs()

    def function(features, positions, supports):
        pooled = Pool("mean")(Pool("max")(features, supports), supports)
        carried = Upsample()(pooled, positions, positions, supports)
        return GlobalPool("max")(carried, torch.arange(30) // 10, 3)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, positions, supports), function(features, positions, supports))


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_shapes_alone_on_the_meta_device(impl):
    features, positions, supports = inputs()
    features, positions, supports = (given.to("meta") for given in (features, positions, supports))
    block = ConvBlock(4, 8, residual=True, window="gaussian", impl=impl).to("meta")
    out = block(features, positions, positions, supports)
    pooled = GlobalPool("mean")(out, torch.zeros(30, dtype=torch.int64, device="meta"), 2)
    every = ContinuousConv(4, 5, impl=impl).to("meta")(features, positions, positions, AllPairs(30, 30))
    assert [tensor.shape for tensor in (out, pooled, every)] == [(30, 8), (2, 8), (30, 5)]
    assert out.is_meta


@pytest.mark.parametrize("dynamic", [False, True])
def test_export_of_a_small_network(dynamic):
    torch.manual_seed(0)
    model = SmallNetwork().eval()
    features, positions, supports = inputs()
    example = (features, positions, supports.indices, supports.offsets)
    shapes = None
    if dynamic:
        points = torch.export.Dim("points", min=2)
        shapes = ({0: points}, {0: points}, {0: torch.export.Dim("pairs", min=2)}, {0: points + 1})
    program = torch.export.export(model, example, dynamic_shapes=shapes)
    torch.testing.assert_close(program.module()(*example), model(*example))
    if dynamic:
        features, positions, supports = inputs(47, 3)
        other = (features, positions, supports.indices, supports.offsets)
        torch.testing.assert_close(program.module()(*other), model(*other))

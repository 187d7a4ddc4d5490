"""Against operators of other libraries that the convolution contains as special cases."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gridless.ops.convolution import continuous_conv

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
C_IN, C_OUT = 5, 7


def gradients(out, tensors):
    probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    values = torch.autograd.grad((out * probe).sum(), list(tensors.values()))
    return {"output": out} | {f"gradient of {name}": value for name, value in zip(tensors, values, strict=True)}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_nnconv_with_the_same_weights(dtype, impl, make_case, assert_same):
    """PyG's NNConv builds the kernel of every pair: the same function where its network is an MLP of the offset."""
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    case = make_case([4, 7, 0, 1, 16, 3], 12, in_channels=C_IN, out_channels=C_OUT, basis="given").to(dtype)
    points = {name: case.tensors[name] for name in ("features", "source_positions", "query_positions")}
    mlp = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, C_IN * C_OUT)).to(dtype)
    theirs = geometric.NNConv(C_IN, C_OUT, mlp, aggr="mean", root_weight=False, bias=False)
    counts = case.offsets.diff()
    queries = torch.arange(len(counts)).repeat_interleave(counts)
    z = points["query_positions"][queries] - points["source_positions"][case.indices]
    expected = theirs(
        (points["features"], None), torch.stack([case.indices, queries]), z, size=(12, len(counts))
    )  # fmt: skip

    kernels = torch.cat([mlp[4].weight.T, mlp[4].bias[None]]).view(17, C_IN, C_OUT)
    ours = continuous_conv(
        *points.values(), case.indices, case.offsets, kernels,
        basis="mlp_relu", basis_parameters=[mlp[0].weight, mlp[0].bias, mlp[2].weight, mlp[2].bias], impl=impl,
    )  # fmt: skip
    named = points | dict(mlp.named_parameters())
    assert_same(gradients(ours, named), gradients(expected, named), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_on_a_grid_of_pixels(stride, dtype, impl, assert_same):
    """Kernel points at the integer offsets see one pixel each; outside the image there are no pairs: zero padding."""
    height, width, kernel_size = 6, 8, 3
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, C_IN, height, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(C_OUT, C_IN, kernel_size, kernel_size, generator=generator, dtype=torch.float64)
    weight = weight.to(dtype).requires_grad_()
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(dtype)
    centers = pixels[(pixels % stride == 0).all(dim=1)]
    queries, indices = ((centers[:, None] - pixels).abs().amax(dim=2) <= kernel_size // 2).nonzero().T
    offsets = functional.pad(torch.bincount(queries).cumsum(0), (1, 0))
    # conv2d is a correlation: its kernel entry at k meets the pixel y = x + k, whose relative position x - y is -k.
    taps = -(torch.cartesian_prod(torch.arange(kernel_size), torch.arange(kernel_size)) - kernel_size // 2).to(dtype)

    ours = continuous_conv(
        image[0].flatten(1).T, pixels, centers, indices, offsets, weight.permute(2, 3, 1, 0).flatten(0, 1),
        basis="kernel_points", basis_parameters=[taps, torch.tensor(0.5, dtype=dtype)], reduce="sum", impl=impl,
    )  # fmt: skip
    expected = functional.conv2d(image, weight, stride=stride, padding=kernel_size // 2)
    named = {"image": image, "weight": weight}
    assert_same(gradients(ours, named), gradients(expected[0].flatten(1).T, named), TOLERANCE[dtype])

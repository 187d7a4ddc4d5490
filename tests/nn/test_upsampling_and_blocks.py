"""Both ways of upsampling, and convolutions that make up for uneven sampling."""

import pytest
import torch
from torch.autograd import gradcheck

from gridless.neighbors import knn
from gridless.nn import ConvBlock, Pool, Upsample
from gridless.ops.interpolation import interpolate


@pytest.mark.parametrize("mode", ["inverse_distance", "convolution"])
def test_both_modes(mode):
    torch.manual_seed(0)
    coarse, fine, features = torch.randn(6, 3).double(), torch.randn(15, 3).double(), torch.randn(6, 4).double()
    rows = knn(coarse, fine, 3)
    upsample = Upsample(mode, channels=4, scale=2.0).double()
    out = upsample(features, coarse, fine, rows)
    if upsample.convolution is None:
        expected = interpolate(features, coarse, fine, rows.indices, rows.offsets)
    else:
        kernels = upsample.convolution.kernel_at(fine[rows.query_indices()] - coarse[rows.indices])
        pairs = torch.einsum("eoc,ec->eo", kernels, features[rows.indices])
        expected = pairs.view(15, 3, 4).mean(dim=1)  # the bias starts at zero
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda f: upsample(f, coarse, fine, rows), (features.requires_grad_(),))


def test_bad_settings():
    with pytest.raises(ValueError, match="Upsample: mode must be"):
        Upsample("nearest")
    with pytest.raises(ValueError, match="needs channels"):
        Upsample("convolution")


@pytest.mark.parametrize("settings", [{"residual": True}, {"reduce": "density"}])
@pytest.mark.parametrize(("num_sources", "num_queries"), [(3, 1), (1, 3)])
def test_a_block_whose_queries_must_be_the_sources_says_so(num_sources, num_queries, settings):
    sources, queries = torch.rand(num_sources, 3), torch.rand(num_queries, 3)
    with pytest.raises(ValueError, match=f"ConvBlock: .*, got {num_sources} sources and {num_queries} queries"):
        ConvBlock(2, 2, **settings)(torch.rand(num_sources, 2), sources, queries, knn(sources, queries, 1))


def test_edges_are_no_neighborhoods():
    positions, features = torch.rand(4, 3), torch.rand(4, 2)
    edges = knn(positions, positions, 2).to_edge_index()
    for layer, arguments in (
        (Pool(), []),
        (Upsample(), [positions, positions]),
        (ConvBlock(2, 2, reduce="density"), [positions, positions]),
    ):
        name = type(layer).__name__
        with pytest.raises(TypeError, match=f"^{name}: neighborhoods must be Neighborhoods, got Tensor"):
            layer(features, *arguments, edges)


def test_density_weights_count_a_place_as_often_as_its_area():
    """In the plane, a half sampled four times as thickly counts like the other half."""
    torch.manual_seed(0)
    coarse, fine = torch.rand(4000, 2), torch.rand(16000, 2)
    positions = torch.cat([coarse - torch.tensor([1.0, 0.0]), fine])  # x < 0 and x > 0
    surface = torch.cat([positions, torch.zeros(len(positions), 1)], dim=1)
    neighborhoods = knn(surface, surface, 8)
    for reduce, expected, tolerance in (("mean", 4.0, 0.01), ("density", 1.0, 0.1)):
        block = ConvBlock(1, 1, reduce=reduce, scale=0.05)
        block.normalization = torch.nn.Identity()
        with torch.no_grad():
            block.convolution.weight.zero_()[-1] = 1.0  # a kernel of one everywhere
            out = block(torch.ones(len(surface), 1), surface, surface, neighborhoods)[:, 0]
        thin, thick = out[positions[:, 0] < 0].sum(), out[positions[:, 0] > 0].sum()
        assert (thick / thin).item() == pytest.approx(expected, rel=tolerance)


def test_density_weights_have_finite_second_derivatives():
    torch.manual_seed(0)
    positions = torch.rand(30, 3, requires_grad=True)
    rows = knn(positions, positions, 6)
    block = ConvBlock(2, 2, reduce="density", normalization="layer", activation="silu")
    out = block(torch.ones(30, 2), positions, positions, rows)
    (first,) = torch.autograd.grad(out.sum(), positions, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), positions)[0].isfinite().all()

"""Both ways of upsampling, and batch normalization of very few rows."""

import pytest
import torch
from torch.autograd import gradcheck

from gridless.neighbors import knn
from gridless.nn import Upsample
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

"""The rivals PointNet and PointNet++ on pyramids, in any dimension."""

import pytest
import torch

from benchmarks.rivals import pointnet
from gridless.models import build_model
from gridless.pyramid import Pyramid

CLOUDS = torch.arange(90) // 30  # three of 30 points


def run(name, dim, positions):
    torch.manual_seed(0)
    config = {"channels": [8, 16, 24], "spacing": 0.1, "dim": dim}
    model = build_model(name, in_channels=2, num_classes=5, **config).eval()
    pyramid = Pyramid.build(positions, model.pyramid_settings, CLOUDS)
    return model(torch.ones(len(pyramid.levels[0].positions), 2), pyramid), pyramid, model


@pytest.mark.parametrize("dim", [2, 3, 4])
@pytest.mark.parametrize("name", ["pointnet", "pointnet2", "pointnet_classifier", "pointnet2_classifier"])
def test_logits_a_point_or_a_cloud_and_gradients_of_all_parameters(name, dim):
    pointnet.register()
    positions = torch.rand(90, dim, generator=torch.Generator().manual_seed(1))
    logits, pyramid, model = run(name, dim, positions)
    rows = 3 if model.task == "classification" else len(pyramid.levels[0].positions)
    assert logits.shape == (rows, 5)
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["pointnet_classifier", "pointnet2_classifier"])
def test_objects_do_not_see_one_another(name):
    pointnet.register()
    positions = torch.rand(90, 3, generator=torch.Generator().manual_seed(1))
    before, *_ = run(name, 3, positions)
    positions[60:] += torch.rand(30, 3, generator=torch.Generator().manual_seed(2))
    after, *_ = run(name, 3, positions)
    torch.testing.assert_close(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])

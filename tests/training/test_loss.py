"""What the loss is an average over."""

import pytest
import torch
from torch.nn import functional as F

from gridless import Pyramid, PyramidSettings
from gridless.data import Batch
from gridless.training.loss import cross_entropy_parts


@pytest.fixture
def batch():
    """A crop of 90 points and one of 10, with ignored points in both, and one of 5 without any label."""
    crops = torch.tensor([90, 10, 5])
    labels = torch.randint(0, 2, (105,), generator=torch.Generator().manual_seed(0))
    labels[[3, 95]] = -1
    labels[100:] = -1
    index = torch.arange(3).repeat_interleave(crops)
    positions = torch.rand(105, 3, generator=torch.Generator().manual_seed(1))
    return Batch(torch.zeros(105, 1), labels, Pyramid.build(positions, PyramidSettings((), 4), index))


def loss(batch, logits, average, weights=(1.0, 3.0)):
    total, weight = cross_entropy_parts(logits, batch, torch.tensor(weights), average, 0.1)
    return total / weight


def test_an_average_over_crops_counts_each_labelled_crop_once(batch):
    logits = torch.randn(105, 2, generator=torch.Generator().manual_seed(2), requires_grad=True)
    parts = [
        F.cross_entropy(
            logits[rows], batch.labels[rows], torch.tensor([1.0, 3.0]), ignore_index=-1, label_smoothing=0.1
        )
        for rows in (slice(0, 90), slice(90, 100))
    ]
    found = loss(batch, logits, "crops")
    assert found.item() == pytest.approx((parts[0] + parts[1]).item() / 2, rel=1e-5)
    found.backward()
    assert (logits.grad[100:] == 0).all()
    assert torch.isfinite(logits.grad).all()


def test_an_average_over_points_counts_each_labelled_point_once(batch):
    logits = torch.randn(105, 2, generator=torch.Generator().manual_seed(2))
    expected = F.cross_entropy(logits, batch.labels, torch.tensor([1.0, 3.0]), ignore_index=-1, label_smoothing=0.1)
    assert loss(batch, logits, "points").item() == pytest.approx(expected.item(), rel=1e-6)


def test_nothing_labelled_is_a_loss_of_nothing(batch):
    logits = torch.randn(105, 2, requires_grad=True)
    unlabelled = Batch(batch.features, torch.full_like(batch.labels, -1), batch.pyramid)
    for average in ("points", "crops"):
        total, weight = cross_entropy_parts(logits, unlabelled, torch.ones(2), average)
        assert (total.item(), weight.item()) == (0.0, 0.0)
        assert not torch.autograd.grad(total, logits)[0].any()

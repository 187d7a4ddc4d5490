"""What the loss is an average over."""

import pytest
import torch
from torch.nn import functional as F

from gridless import Pyramid, PyramidSettings
from gridless.data import Batch
from gridless.training.loss import loss_parts, lovasz_softmax


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
    total, weight = loss_parts(logits, batch, torch.tensor(weights), average, 0.1)
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
        total, weight = loss_parts(logits, unlabelled, torch.ones(2), average, lovasz=1.0)
        assert (total.item(), weight.item()) == (0.0, 0.0)
        assert not torch.autograd.grad(total, logits)[0].any()


def test_lovasz_of_certain_answers_is_one_minus_the_mean_iou():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    answers = torch.tensor([0, 0, 1, 1, 1, 0])
    logits = 60.0 * F.one_hot(answers, 4)  # class 3 does not occur and counts for nothing
    assert lovasz_softmax(logits, labels).item() == pytest.approx(1 - (2 / 4 + 2 / 3 + 0) / 3, abs=1e-6)


def test_lovasz_has_the_gradient_of_its_values():
    logits = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    labels = torch.tensor([0, 1, 2] * 4)
    assert torch.autograd.gradcheck(lambda scores: lovasz_softmax(scores, labels), logits)


@pytest.mark.parametrize("average", ["points", "crops"])
def test_lovasz_counts_each_crop_as_its_cross_entropies_do(batch, average):
    logits = torch.randn(105, 2, generator=torch.Generator().manual_seed(2))
    weights = torch.tensor([1.0, 3.0])
    plain, weight = loss_parts(logits, batch, weights, average)
    total, _ = loss_parts(logits, batch, weights, average, lovasz=0.5)
    expected = 0.0
    for rows in (slice(0, 90), slice(90, 100)):
        known = batch.labels[rows] != -1
        labels = batch.labels[rows][known]
        counts = weights[labels].sum() if average == "points" else 1.0
        expected += 0.5 * counts * lovasz_softmax(logits[rows][known], labels)
    assert (total - plain).item() == pytest.approx(float(expected), rel=1e-4)
    assert weight > 0


@pytest.mark.parametrize("average", ["crops", "points"])
def test_a_crop_of_a_class_without_weight_counts_for_nothing(batch, average):
    logits = torch.randn(105, 2, generator=torch.Generator().manual_seed(2), requires_grad=True)
    batch.labels[90:100] = 0
    found = loss(batch, logits, average, weights=(0.0, 1.0))
    found.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[90:] == 0).all() or average == "points"  # where smoothing still counts
    batch.labels[90:100] = -1
    assert average == "points" or found.item() == loss(batch, logits, average, weights=(0.0, 1.0)).item()

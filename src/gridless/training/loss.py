"""The loss of a batch as a total and what it is divided by, so that several processes can share one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gridless.data import IGNORED, Batch


def loss_parts(
    logits: Tensor,
    batch: Batch,
    class_weights: Tensor,
    average: str,
    smoothing: float = 0.0,
    lovasz: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Loss L = total / weight of a batch; of parts of a batch, totals and weights add up.

    Cross-entropy, and the Lovász loss of each crop (of all clouds together where each has one class) as often as the
    crop's cross-entropies count.

    Args:
        logits: [N, classes], or [B, classes] where whole clouds have a class.
        batch: labels; what is ignored counts for nothing.
        class_weights: [classes], of the cross-entropy.
        average: "points" weighs every labelled point by its class, "crops" takes the mean of each crop first.
        smoothing: of the labels in the cross-entropy.
        lovasz: factor of the Lovász loss.

    Returns:
        The total with its gradient, and the weight; both 0 where nothing is labelled.
    """
    known = batch.labels != IGNORED
    logits, labels = logits[known], batch.labels[known]
    weights = class_weights[labels]
    # Classes come first: torch is three times slower along a last axis as short as that of classes.
    (losses,) = F.cross_entropy(
        logits.T[None], labels[None], class_weights, reduction="none", label_smoothing=smoothing
    )
    if len(batch.labels) != len(batch.features):  # a label a cloud
        average, crops = "points", torch.zeros_like(labels)
    else:
        crops = batch.pyramid.levels[0].batch[known]
    weight_of_crop = weights.new_zeros(batch.pyramid.num_clouds).index_add_(0, crops, weights)
    if average == "points":
        total, weight = losses.sum(), weights.sum()
        share_of_crop = weight_of_crop
    else:
        counted = weight_of_crop > 0  # not where all of a crop is of classes without weight
        total = (losses / torch.where(counted, weight_of_crop, torch.inf)[crops]).sum()
        share_of_crop = counted.to(losses.dtype)
        weight = share_of_crop.sum()
    if lovasz:
        for crop in crops.unique().tolist():
            rows = crops == crop
            total = total + lovasz * share_of_crop[crop] * lovasz_softmax(logits[rows], labels[rows])
    return total, weight


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """A convex stand-in for 1 - IoU, averaged over the classes that occur.

    For each class the errors |[y = c] - p_c| are sorted downwards; each counts by how much the Jaccard loss of the
    points before it grows when it becomes wrong too.

    Args:
        logits: [N, classes].
        labels: [N], none ignored.

    Source: Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss", CVPR 2018.

    Example:
        >>> lovasz_softmax(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.tensor([0, 1])).item() < 1e-6
        True
    """
    probabilities = logits.softmax(dim=1)
    losses = []
    for label in labels.unique():
        belongs = (labels == label).to(probabilities.dtype)
        errors, order = (belongs - probabilities[:, label]).abs().sort(descending=True)
        wrong = belongs[order]
        missed, invented = wrong.cumsum(0), (1 - wrong).cumsum(0)
        jaccard = 1 - (belongs.sum() - missed) / (belongs.sum() + invented)
        growth = torch.cat([jaccard[:1], jaccard.diff()])
        losses.append(errors @ growth)
    return torch.stack(losses).mean()

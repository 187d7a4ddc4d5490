"""The loss of a batch as a total and what it is divided by, so that several processes can share one batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gridless.data import IGNORED, Batch


def cross_entropy_parts(
    logits: Tensor, batch: Batch, class_weights: Tensor, average: str, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy L = total / weight of a batch; of parts of a batch, totals and weights add up.

    Args:
        logits: [N, classes], or [B, classes] where whole clouds have a class.
        batch: labels; what is ignored counts for nothing.
        class_weights: [classes]
        average: "points" weighs every labelled point by its class, "crops" takes the mean of each crop first.
        smoothing: of the labels.

    Returns:
        The total with its gradient, and the weight; both 0 where nothing is labelled.
    """
    known = batch.labels != IGNORED
    labels = batch.labels[known]
    weights = class_weights[labels]
    losses = F.cross_entropy(logits[known], labels, class_weights, reduction="none", label_smoothing=smoothing)
    if average == "points" or len(batch.labels) != len(batch.features):  # or a label a cloud
        return losses.sum(), weights.sum()
    crops = batch.pyramid.levels[0].batch[known]
    weight_of_crop = weights.new_zeros(batch.pyramid.num_clouds).index_add_(0, crops, weights)
    return (losses / weight_of_crop[crops]).sum(), (weight_of_crop > 0).sum().to(losses.dtype)

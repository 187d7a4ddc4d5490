"""The confusion matrix that every classification score is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Labels: TypeAlias = "NDArray[np.integer] | torch.Tensor | Sequence[int]"


def confusion_matrix(
    truth: Labels, prediction: Labels, num_classes: int, ignore_index: int | None = -1
) -> NDArray[np.int64]:
    """Count how often each true class was given each predicted class.

    Args:
        truth: true classes [N], integers; rows equal to ``ignore_index`` are not counted.
        prediction: predicted classes [N], integers in 0 .. num_classes - 1 wherever the truth counts.
        num_classes: the number of classes C.
        ignore_index: the label of points without a known class; None counts every point.

    Returns:
        [C, C] int64; row = true class, column = predicted class.

    Raises:
        TypeError: labels are not integers.
        ValueError: shapes differ, or a counted label is outside 0 .. C - 1.

    Example:
        >>> confusion_matrix([0, 1, 1, -1], [0, 0, 1, 1], num_classes=2).tolist()
        [[1, 0], [1, 1]]
    """
    true = _integer_labels(truth, "truth")
    predicted = _integer_labels(prediction, "prediction").to(true.device)
    if true.shape != predicted.shape:
        raise ValueError(
            "confusion_matrix: truth and prediction must have the same length, "
            f"got shapes {tuple(true.shape)} and {tuple(predicted.shape)}"
        )
    if ignore_index is not None:
        counted = true != ignore_index
        true, predicted = true[counted], predicted[counted]
    for name, labels in (("truth", true), ("prediction", predicted)):
        if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
            raise ValueError(
                f"confusion_matrix: {name} must be in 0 .. {num_classes - 1} where truth is not "
                f"ignore_index={ignore_index}, got values {int(labels.min())} .. {int(labels.max())}; "
                "map other labels to ignore_index first"
            )
    counts = torch.bincount(true * num_classes + predicted, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).cpu().numpy()


def _integer_labels(labels: Labels, name: str) -> torch.Tensor:
    # numpy's unsigned types wider than uint8 have too few torch operations; int64 holds every class number.
    tensor = labels if isinstance(labels, torch.Tensor) else torch.as_tensor(_as_integer_array(labels, name))
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(
            f"confusion_matrix: {name} must be integers, got dtype {tensor.dtype}; take argmax of scores first"
        )
    if tensor.ndim != 1:
        raise ValueError(f"confusion_matrix: {name} must be [N], got shape {tuple(tensor.shape)}")
    return tensor.long()


def _as_integer_array(labels: Labels, name: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.size and array.dtype.kind not in "iub":
        raise TypeError(f"confusion_matrix: {name} must be integers, got dtype {array.dtype}")
    return array.astype(np.int64)

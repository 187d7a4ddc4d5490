"""Scores of a semantic segmentation, from one confusion matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.metrics.classification import class_accuracies, mean_of_defined, overall_accuracy
from gridless.metrics.confusion import Labels, confusion_matrix


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """Scores per class and overall; add two to score their points together.

    Args:
        class_names: C names in the order of the class numbers.
        confusion: [C, C] int64 counts, row = true class, column = predicted class.

    Raises:
        ValueError: ``confusion`` is not [C, C] for the C names, or has negative counts.

    Example:
        >>> scores = SegmentationScores.from_labels([0, 0, 1, 1], [0, 1, 1, 1], ["ground", "building"])
        >>> scores.overall_accuracy, scores.iou.round(3).tolist(), round(scores.mean_iou, 3)
        (0.75, [0.5, 0.667], 0.583)
    """

    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.class_names)
        confusion = np.asarray(self.confusion, dtype=np.int64)
        if confusion.shape != (len(names), len(names)):
            raise ValueError(
                f"SegmentationScores: confusion must be [{len(names)}, {len(names)}] for the class names "
                f"{', '.join(names)}; got shape {confusion.shape}"
            )
        if (confusion < 0).any():
            raise ValueError("SegmentationScores: confusion must hold counts, got negative values")
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "confusion", confusion)

    @classmethod
    def from_labels(
        cls, truth: Labels, prediction: Labels, class_names: list[str] | tuple[str, ...], ignore_index: int | None = -1
    ) -> SegmentationScores:
        """Score predicted labels [N] against true ones [N]; points whose truth is ``ignore_index`` do not count."""
        return cls(tuple(class_names), confusion_matrix(truth, prediction, len(class_names), ignore_index))

    def __add__(self, other: SegmentationScores) -> SegmentationScores:
        """Scores of the points of both; ValueError when the classes differ."""
        if not isinstance(other, SegmentationScores):
            return NotImplemented
        if self.class_names != other.class_names:
            raise ValueError(
                f"SegmentationScores: only scores of the same classes can be added, got {self.class_names} "
                f"and {other.class_names}"
            )
        return SegmentationScores(self.class_names, self.confusion + other.confusion)

    @property
    def overall_accuracy(self) -> float:
        """Share of the counted points that are right; NaN without points."""
        return overall_accuracy(self.confusion)

    @property
    def support(self) -> NDArray[np.int64]:
        """Number of points of each true class [C]."""
        return self.confusion.sum(axis=1)

    @property
    def recall(self) -> NDArray[np.float64]:
        """TP / (TP + FN) per class [C]; NaN for a class absent from the truth."""
        return class_accuracies(self.confusion)

    @property
    def precision(self) -> NDArray[np.float64]:
        """TP / (TP + FP) per class [C]; NaN for a class that was never predicted."""
        return class_accuracies(self.confusion.T)  # transposed, truth and prediction change places

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union TP / (TP + FP + FN) per class [C]; NaN for a class in neither side."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction (one predicted but never true counts as 0)."""
        return mean_of_defined(self.iou)

    def to_dict(self) -> dict[str, Any]:
        """Plain values ready for JSON; undefined scores (NaN) become None."""
        per_class = {
            name: {
                "iou": _none_if_nan(self.iou[c]),
                "precision": _none_if_nan(self.precision[c]),
                "recall": _none_if_nan(self.recall[c]),
                "support": int(self.support[c]),
            }
            for c, name in enumerate(self.class_names)
        }
        return {
            "overall_accuracy": _none_if_nan(self.overall_accuracy),
            "mean_iou": _none_if_nan(self.mean_iou),
            "classes": per_class,
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
        }


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

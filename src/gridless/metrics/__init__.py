"""How good predictions are: scores from labels."""

from gridless.metrics.calibration import calibration_sums, expected_calibration_error
from gridless.metrics.classification import class_accuracies, mean_class_accuracy, overall_accuracy
from gridless.metrics.confusion import confusion_matrix
from gridless.metrics.segmentation import SegmentationScores

__all__ = [
    "SegmentationScores",
    "calibration_sums",
    "class_accuracies",
    "confusion_matrix",
    "expected_calibration_error",
    "mean_class_accuracy",
    "overall_accuracy",
]

"""How good predictions are: scores from labels."""

from gridless.metrics.classification import class_accuracies, mean_class_accuracy, overall_accuracy
from gridless.metrics.confusion import confusion_matrix
from gridless.metrics.segmentation import SegmentationScores

__all__ = ["SegmentationScores", "class_accuracies", "confusion_matrix", "mean_class_accuracy", "overall_accuracy"]

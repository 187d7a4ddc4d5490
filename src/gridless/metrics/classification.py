"""Accuracies of a classification, from its confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overall_accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of all counted items whose predicted class is the true one: trace / sum.

    Args:
        confusion: [C, C] counts, row = true class, column = predicted class.

    Returns:
        A number in 0 .. 1; NaN when nothing was counted.

    Example:
        >>> overall_accuracy(np.array([[3, 1], [0, 4]]))
        0.875
    """
    return float(_ratio(np.trace(confusion), confusion.sum()))


def class_accuracies(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each true class that was recognized (its recall), NaN for a class absent from the truth.

    Args:
        confusion: [C, C] counts, row = true class, column = predicted class.

    Returns:
        [C] numbers in 0 .. 1 or NaN.

    Example:
        >>> class_accuracies(np.array([[3, 1], [0, 4]])).tolist()
        [0.75, 1.0]
    """
    return _ratio(np.diag(confusion), confusion.sum(axis=1))


def mean_class_accuracy(confusion: NDArray[np.int64]) -> float:
    """Mean of the class accuracies over the classes that occur in the truth; NaN when none does.

    Args:
        confusion: [C, C] counts, row = true class, column = predicted class.

    Returns:
        A number in 0 .. 1 or NaN.

    Example:
        >>> mean_class_accuracy(np.array([[3, 1], [0, 4]]))
        0.875
    """
    return mean_of_defined(class_accuracies(confusion))


def mean_of_defined(values: NDArray[np.float64]) -> float:
    """Mean of the entries that are not NaN; NaN when there are none (without numpy's warning).

    Args:
        values: any shape.

    Returns:
        The mean.

    Example:
        >>> mean_of_defined(np.array([1.0, np.nan, 3.0]))
        2.0
    """
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) > 0)

"""Scores as a table for the terminal."""

from __future__ import annotations

import math

from rich.markup import escape
from rich.table import Table

from gridless.metrics.segmentation import SegmentationScores


def scores_table(scores: SegmentationScores) -> Table:
    """Table of IoU, precision, recall (percent) and support per class, with mIoU and accuracy in its footer.

    Args:
        scores: what to show.

    Returns:
        A table that ``rich.print`` prints; undefined scores are shown as a dash.

    Example:
        >>> from gridless.metrics import SegmentationScores
        >>> scores_table(SegmentationScores.from_labels([0, 1], [0, 1], ["ground", "tree"])).row_count
        2
    """
    table = Table(show_footer=True)
    table.add_column("class", footer="mean IoU / overall accuracy")
    table.add_column("IoU", justify="right", footer=percent(scores.mean_iou))
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right", footer=percent(scores.overall_accuracy))
    table.add_column("points", justify="right", footer=f"{int(scores.support.sum()):,}")
    for row in score_rows(scores):
        table.add_row(escape(row[0]), *row[1:])
    return table


def score_rows(scores: SegmentationScores) -> list[tuple[str, str, str, str, str]]:
    """Name, IoU, precision, recall and support of each class as text.

    Args:
        scores: what to show.

    Returns:
        C rows.

    Example:
        >>> from gridless.metrics import SegmentationScores
        >>> score_rows(SegmentationScores.from_labels([0], [0], ["ground"]))
        [('ground', '100.0', '100.0', '100.0', '1')]
    """
    columns = zip(scores.class_names, scores.iou, scores.precision, scores.recall, scores.support, strict=True)
    return [(name, percent(iou), percent(p), percent(r), f"{int(n):,}") for name, iou, p, r, n in columns]


def percent(value: float) -> str:
    """A share as percent with one decimal, or a dash when undefined.

    Args:
        value: a number in 0 .. 1 or NaN.

    Returns:
        The text.

    Example:
        >>> percent(0.9), percent(float("nan"))
        ('90.0', '–')
    """
    return "–" if math.isnan(value) else f"{100 * value:.1f}"

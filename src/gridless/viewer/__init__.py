"""Reports about trained models: pictures, tables and pages for the browser."""

from gridless.viewer.comparison import ComparedRun, write_comparison
from gridless.viewer.figures import confusion_matrix_figure
from gridless.viewer.report import write_report
from gridless.viewer.table import percent, scores_table

__all__ = [
    "ComparedRun",
    "confusion_matrix_figure",
    "percent",
    "scores_table",
    "write_comparison",
    "write_report",
]

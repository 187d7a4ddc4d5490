"""Reports about trained models: pictures, tables and one page for the browser."""

from gridless.viewer.figures import confusion_matrix_figure
from gridless.viewer.report import write_report
from gridless.viewer.table import percent, scores_table

__all__ = ["confusion_matrix_figure", "percent", "scores_table", "write_report"]

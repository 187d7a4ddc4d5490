"""Figures of scores and curves: plotly for the browser, matplotlib for files."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridless.io.atomic import replaced_when_complete
from gridless.metrics.segmentation import SegmentationScores

_MOST_CLASSES_WITH_TEXT = 30  # in the cells of the confusion matrix, which grows up to there
_MOST_TICKS = 100  # that stay apart on its axes
_LINE_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def confusion_matrix_figure(scores: SegmentationScores, path: str | os.PathLike[str]) -> None:
    """Write the confusion matrix as a picture: percent of each true class, up to 30 classes with counts.

    Args:
        scores: what to show.
        path: file to write; its suffix (.png, .svg, .pdf) chooses the format.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.

    Example:
        >>> import tempfile
        >>> scores = SegmentationScores.from_labels([0, 1], [0, 1], ["ground", "tree"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     confusion_matrix_figure(scores, os.path.join(folder, "confusion.png"))
        ...     os.listdir(folder)
        ['confusion.png']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares, num_classes = _row_percent(scores), len(scores.class_names)
    side = max(4.5, 0.72 * min(num_classes, _MOST_CLASSES_WITH_TEXT) + 2.5)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="percent of the true class", shrink=0.8)
    # a dollar sign would start mathematical text, and a class name is not ours
    names = [name.replace("$", r"\$") for name in scores.class_names]
    every = -(-num_classes // _MOST_TICKS)
    ticks = range(0, num_classes, every)
    axes.set_xticks(ticks, names[::every], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names[::every])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(scores.confusion):
        if count and num_classes <= _MOST_CLASSES_WITH_TEXT:
            color = "white" if shares[row, column] > 55 else "#222222"
            text = f"{shares[row, column]:.1f}\n{_short_count(count)}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    with replaced_when_complete(path) as temporary:
        figure.savefig(temporary, dpi=150)


def confusion_matrix_heatmap(scores: SegmentationScores) -> Any:
    """The confusion matrix as a plotly figure; counts show under the pointer.

    Args:
        scores: what to show.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Example:
        >>> scores = SegmentationScores.from_labels([0, 1], [0, 1], ["ground", "tree"])
        >>> confusion_matrix_heatmap(scores).data[0].type
        'heatmap'
    """
    import plotly.graph_objects as go

    numbers = list(range(len(scores.class_names)))
    names = [as_plotly_text(name) for name in scores.class_names]
    shares = np.nan_to_num(_row_percent(scores))
    heatmap = go.Heatmap(
        z=shares,
        customdata=np.array([[f"{count:,}" for count in row] for row in scores.confusion.tolist()]),
        text=[[f"true {t}<br>predicted {p}" for p in names] for t in names],
        texttemplate="%{z:.1f}" if len(names) <= 15 else None,
        hovertemplate="%{text}<br>%{customdata} points, %{z:.2f} %<extra></extra>",
        colorscale="Blues",
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "% of true"}, "thickness": 12},
    )
    # Positions are numbers and names are tick labels, so that two classes of one name stay two.
    ticks = {"tickvals": numbers, "ticktext": names, "showgrid": False, "zeroline": False, "automargin": True}
    figure = go.Figure(heatmap, _plain_layout(height=max(360, 26 * len(names) + 160)))
    figure.update_xaxes(title="predicted", **ticks)
    figure.update_yaxes(title="true", autorange="reversed", **ticks)
    return figure


def curves_figure(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Any:
    """Training curves over steps: losses in the upper panel, everything else in the lower one.

    Args:
        curves: name -> (steps, values).

    Returns:
        A ``plotly.graph_objects.Figure``.

    Example:
        >>> len(curves_figure({"train_loss": ([0, 1], [0.9, 0.5]), "val_miou": ([1], [0.7])}).data)
        2
    """
    from plotly.subplots import make_subplots

    panels = [
        (title, chosen)
        for title, chosen in (
            ("loss", [name for name in curves if "loss" in name.lower()]),
            ("score", [name for name in curves if "loss" not in name.lower()]),
        )
        if chosen
    ]
    figure = make_subplots(rows=max(1, len(panels)), cols=1, shared_xaxes=True, vertical_spacing=0.08)
    order = {name: index for index, name in enumerate(curves)}
    for row, (title, chosen) in enumerate(panels, start=1):
        for name in chosen:
            steps, values = (np.asarray(part, dtype=float) for part in curves[name])
            _add_curve(figure, name, steps, values, run_color(order[name]), row, 1)
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_xaxes(title="step", row=max(1, len(panels)), col=1)
    _style_curves(figure, height=180 + 160 * max(1, len(panels)))
    return figure


def compared_curves_figure(curves: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]) -> Any:
    """Training curves of several runs: a panel for each quantity, a color for each run.

    Args:
        curves: run -> name -> (steps, values).

    Returns:
        A ``plotly.graph_objects.Figure``.

    Example:
        >>> figure = compared_curves_figure({"a": {"loss": ([0, 1], [2, 1])}, "b": {"loss": ([0], [3])}})
        >>> [line.name for line in figure.data]
        ['a', 'b']
    """
    from plotly.subplots import make_subplots

    names = list(dict.fromkeys(name for of_run in curves.values() for name in of_run))
    columns = min(2, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    titles = [as_plotly_text(name) for name in names]
    figure = make_subplots(rows, columns, subplot_titles=titles, vertical_spacing=0.36 / rows)
    for index, (run, of_run) in enumerate(curves.items()):
        shown: set[str] = set()
        for panel, name in enumerate(names):
            if name not in of_run:
                continue
            row, column = divmod(panel, columns)
            steps, values = (np.asarray(part, dtype=float) for part in of_run[name])
            _add_curve(figure, run, steps, values, run_color(index), row + 1, column + 1)
            # one entry in the legend switches a run in all its panels
            figure.data[-1].update(legendgroup=str(index), showlegend=not shown)
            shown.add(name)
    figure.update_xaxes(title={"text": "step", "standoff": 4})
    _style_curves(figure, height=110 + 250 * rows)
    figure.update_layout(legend={"y": 1 + 40 / (110 + 250 * rows)}, margin={"t": 70})
    return figure


def run_color(index: int) -> str:
    """Color of the run or curve of this number; after the last one they start again."""
    return _LINE_COLORS[index % len(_LINE_COLORS)]


def as_plotly_text(text: str) -> str:
    """Text that plotly shows as it is: plotly reads its labels as simple HTML.

    Args:
        text: any text.

    Returns:
        The text with ``&``, ``<`` and ``>`` escaped.

    Example:
        >>> as_plotly_text("<b>")
        '&lt;b&gt;'
    """
    return html.escape(text, quote=False)


def _add_curve(
    figure: Any, name: str, steps: NDArray[np.float64], values: NDArray[np.float64], color: str, row: int, column: int
) -> None:
    mode = "lines+markers" if len(steps) <= 40 else "lines"
    line = {"color": color, "width": 2}
    figure.add_scatter(x=steps, y=values, name=as_plotly_text(name), mode=mode, line=line, row=row, col=column)


def _style_curves(figure: Any, height: int) -> None:
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)"}
    figure.update_xaxes(**grid)
    figure.update_yaxes(automargin=True, **grid)
    figure.update_layout(_plain_layout(height))
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def _plain_layout(height: int) -> dict[str, Any]:
    # Transparent, so that the page's light or dark ground shows; the page sets the color of the text.
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 60, "r": 10, "t": 40, "b": 50},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "rgba(128,128,128,0.7)", "activecolor": "rgb(86,160,211)"},
    }


def _row_percent(scores: SegmentationScores) -> NDArray[np.float64]:
    totals = scores.support[:, None]
    return np.divide(100.0 * scores.confusion, totals, out=np.full(scores.confusion.shape, np.nan), where=totals > 0)


def _short_count(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.0f}k" if count >= 10_000 else f"{count:,}"

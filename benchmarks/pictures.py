"""The picture of the scaling cases: time above, peak memory below, a column an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import label
from benchmarks.report import axis_value
from benchmarks.rows import Row
from benchmarks.suite import ScalingCase

# Told apart by color-blind readers, and by their markers in print.
_STYLES = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"))
_AXIS_LABELS = {"points": "points N", "neighbors": "neighbors K", "channels": "channels C → C"}
_LEAST_MEGABYTES = 0.1


def draw_scaling(path: Path, cases: Mapping[str, ScalingCase], results: Mapping[str, Sequence[Row]]) -> None:
    """Write the picture of the cases that have results; nothing if none has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {name: case for name, case in cases.items() if results.get(name)}
    if not shown:
        return
    contenders = list(dict.fromkeys(row.contender for name in shown for row in results[name]))
    figure = Figure(figsize=(4.2 * len(shown) + 0.6, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(shown), sharex="col", sharey="row", squeeze=False)
    for column, (name, case) in enumerate(shown.items()):
        above, below = grid[:, column]
        for contender, (color, marker) in zip(contenders, _STYLES, strict=False):
            rows = [row for row in results[name] if row.contender == contender]
            for axes, figures in (
                (above, [(axis_value(row, case.axis), row.milliseconds) for row in rows]),
                (below, [(axis_value(row, case.axis), row.peak_megabytes) for row in rows]),
            ):
                known = [(value, max(y, _LEAST_MEGABYTES)) for value, y in figures if y is not None]
                if not known:
                    continue
                style = "-" if contender == contenders[0] else "--"
                axes.plot(*zip(*known, strict=True), style, color=color, marker=marker, label=label(contender))
        above.set_title(case.title, fontsize=10)
        below.set_xlabel(_AXIS_LABELS[case.axis])
        for axes in (above, below):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(case.values, [f"{value:,}" for value in case.values])
            axes.minorticks_off()
            axes.grid(color="#dddddd", linewidth=0.6)
    grid[0, 0].set_ylabel("milliseconds")
    grid[1, 0].set_ylabel("peak MB above inputs,\noutput and gradients")
    grid[0, 0].legend(fontsize=9)
    figure.savefig(path, dpi=130)

"""The section of BENCHMARKS.md: what was to be reached, and a table of each kind of results."""

from __future__ import annotations

from benchmarks.gpu.cases import Cases, Result
from benchmarks.gpu.measure import OURS
from benchmarks.report import line, rule


def section(cases: Cases, results: list[Result]) -> str:
    """What was to be reached, and a table of each kind of results; figures that nobody measured stay empty."""
    devices = sorted({result.device for result in results})
    parts = [
        f"Measured on: {', '.join(devices)}." if devices else "No GPU was at hand: nothing is measured yet.",
        _table(
            ("figure", "goal", "hoped for", "measured"),
            [
                (goal.figure, goal.at_least_or_most, goal.hoped_for, _number(goal.value(results)))
                for goal in cases.goals
            ],
        ),
    ]
    columns: dict[str, tuple[str, ...]] = {
        "layer": ("points", "neighbors", "channels", "precision", "passes", "contender", "floor_milliseconds",
                  "milliseconds", "peak_megabytes", "difference", "note"),
        "search": ("points", "dim", "neighbors", "contender", "milliseconds", "note"),
        "training": ("contender", "points", "milliseconds", "points_per_second", "difference", "note"),
    }  # fmt: skip
    for kind, names in columns.items():
        rows = [tuple(_text(getattr(r, name)) for name in names) for r in results if r.kind == kind]
        if rows:
            parts.append(_table(tuple(name.replace("_", " ") for name in names), rows))
    if beside := search_beside_convolution(results):
        parts.append(_table(("points", "neighbors", "channels", "search / forward pass"), beside))
    return "\n\n".join(parts)


def search_beside_convolution(results: list[Result]) -> list[tuple[str, ...]]:
    """Points, neighbors, channels, and how many forward passes in float32 a search in three dimensions is worth."""
    searches = {
        (r.points, r.neighbors): r.milliseconds
        for r in results
        if (r.kind, r.contender, r.dim) == ("search", "grid", 3) and r.milliseconds
    }
    rows: list[tuple[str, ...]] = []
    for r in results:
        searched = searches.get((r.points, r.neighbors))
        if (r.contender, r.passes, r.precision) == (OURS, "forward", "float32") and r.milliseconds and searched:
            ratio = _number(searched / r.milliseconds)
            rows.append((str(r.points), str(r.neighbors), str(r.channels), ratio))
    return rows


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join([line(*header), rule(len(header)), *(line(*row) for row in rows)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _text(value: object) -> str:
    return _number(value) if value is None or isinstance(value, float) else str(value)

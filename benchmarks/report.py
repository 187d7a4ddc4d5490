"""The machine-made sections of BENCHMARKS.md, each between its own two markers; what stands elsewhere is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import OURS, label
from benchmarks.rows import RESULTS_FOLDER, Row
from benchmarks.suite import Case, Goal, Suite

_NO_RESULTS = "No results yet."
PICTURE = RESULTS_FOLDER / "scaling.png"

Results = Mapping[str, Sequence[Row]]
"""Rows by the case's name; a case that never ran is absent."""


def update_document(path: Path, suite: Suite, results: Results) -> None:
    """Write the sections anew.

    Raises:
        ValueError: a section's markers are missing, or stand in the wrong order.
    """
    text = path.read_text(encoding="utf-8")
    for name, write in SECTIONS.items():
        text = with_section(text, name, "make bench", write(suite, results))
    path.write_text(text, encoding="utf-8")


def with_section(text: str, name: str, maker: str, content: str) -> str:
    """``text`` with other content between the markers of one section, which name the command that makes it.

    Raises:
        ValueError: the section's markers are missing, or stand in the wrong order.
    """
    begin, end = f"<!-- begin {name}: made by `{maker}` -->", f"<!-- end {name} -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the section {name!r} has no markers; expected {begin} and then {end}")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def _facts(suite: Suite, results: Results) -> str:
    """Machine, date, versions and command of every case, one line for those that share them."""
    cases: dict[tuple[str, ...], list[str]] = {}
    for name in suite.cases:
        for row in results.get(name, [])[:1]:
            key = (row.machine, f"{row.threads} threads", f"torch {row.torch}", row.date, f"`{row.command}`")
            cases.setdefault(key, []).append(name)
    if len(cases) == 1:
        return ", ".join(next(iter(cases)))
    return "\n".join(f"- {', '.join(names)}: {', '.join(key)}" for key, names in cases.items()) or _NO_RESULTS


def _goals(suite: Suite, results: Results) -> str:
    lines = [line("figure", "goal", "hoped for", "measured", ""), rule(5)]
    for goal in suite.goals:
        value = _figure(goal, results)
        bound = goal.at_least if goal.at_least is not None else goal.at_most
        sign = "≥" if goal.at_least is not None else "≤"
        hoped_for = "" if goal.hoped_for is None else f"{sign} {goal.hoped_for:g}"
        measured = "not measured" if value is None else _number(value)
        lines.append(line(goal.figure, f"{sign} {bound:g}", hoped_for, measured, _verdict(goal, value)))
    return "\n".join(lines)


def _figure(goal: Goal, results: Results) -> float | None:
    for row in results.get(goal.case, []):
        if (row.contender, row.passes) == (goal.contender, goal.passes):
            value: float | None = getattr(row, goal.column)
            return value
    return None


def _verdict(goal: Goal, value: float | None) -> str:
    if value is None:
        return ""
    reached = (goal.at_least is None or value >= goal.at_least) and (goal.at_most is None or value <= goal.at_most)
    return "reached" if reached else "missed"


def _layers(suite: Suite, results: Results) -> str:
    header = line("", "pass", "median", "× ours", "useful GFLOP/s", "of a GEMM", "difference")
    return _tables(suite.layers, results, header, 7, _layer_line)


def _layer_line(row: Row) -> str:
    if row.milliseconds is None:
        return line(label(row.contender), row.passes, row.note, "", "", "", "")
    return line(
        label(row.contender),
        row.passes,
        _time(row.milliseconds),
        _number(row.times_ours),
        _number(row.useful_gflops),
        _number(row.part_of_gemm),
        _difference(row.difference),
    )


def _memory(suite: Suite, results: Results) -> str:
    header = line("", "pass", "peak above inputs, output and gradients", "whole process at its peak")
    return _tables(suite.memory, results, header, 4, _memory_line)


def _memory_line(row: Row) -> str:
    return line(
        label(row.contender),
        row.passes,
        row.note or _megabytes(row.peak_megabytes),
        _megabytes(row.process_megabytes),
    )


def _training(suite: Suite, results: Results) -> str:
    header = line("convolutions computed by", "points a step", "a step", "points/s", "× ours", "difference")
    return _tables(suite.training, results, header, 6, _training_line)


def _training_line(row: Row) -> str:
    if row.points_per_second is None:
        return line(label(row.contender), row.note, "", "", "", "")
    return line(
        label(row.contender),
        f"{row.points:,}",
        _time(row.milliseconds),
        f"{row.points_per_second:,.0f}",
        _number(row.times_ours),
        _difference(row.difference),
    )


def _scaling(suite: Suite, results: Results) -> str:
    """A table an axis: a row a value, a column a contender."""
    parts = []
    for name, case in suite.scaling.items():
        rows = results.get(name, [])
        if not rows:
            continue
        contenders = list(dict.fromkeys(row.contender for row in rows))
        lines = [f"**{case.title}**", "", line(case.axis, *map(label, contenders)), rule(1 + len(contenders))]
        for value in case.values:
            at_value = {row.contender: row for row in rows if axis_value(row, case.axis) == value}
            cells = [_scaling_cell(at_value[contender]) if contender in at_value else "" for contender in contenders]
            lines.append(line(f"{value:,}", *cells))
        parts.append("\n".join(lines))
    if not parts:
        return _NO_RESULTS
    picture = f"![Time and peak memory against N, K and C](benchmarks/results/{PICTURE.name})"
    return "\n\n".join([picture, *parts])


def axis_value(row: Row, axis: str) -> int | None:
    """Where on a scaling case's axis a row stands."""
    return {"points": row.points, "neighbors": row.neighbors, "channels": row.in_channels}[axis]


def _scaling_cell(row: Row) -> str:
    measured = [_time(row.milliseconds), _megabytes(row.peak_megabytes), row.note]
    return ", ".join(part for part in measured if part)


def _search(suite: Suite, results: Results) -> str:
    header = line("N = M", "D", "", "median", "× ours")
    return _tables(suite.search, results, header, 5, _search_line)


def _search_line(row: Row) -> str:
    time = row.note if row.milliseconds is None else _time(row.milliseconds)
    return line(
        f"{row.points:,}",
        str(row.dim),
        "gridless" if row.contender == OURS else row.contender,
        time,
        _number(row.times_ours),
    )


def _subsample(suite: Suite, results: Results) -> str:
    header = line("N", "D", "", "median", "× ours")
    return _tables(suite.subsample, results, header, 5, _search_line)


#: Sections by the name in their markers.
SECTIONS: dict[str, Callable[[Suite, Results], str]] = {
    "facts": _facts,
    "goals": _goals,
    "layers": _layers,
    "memory": _memory,
    "training": _training,
    "scaling": _scaling,
    "search": _search,
    "subsample": _subsample,
}


def _tables(cases: Mapping[str, Case], results: Results, header: str, columns: int, write: Callable[[Row], str]) -> str:
    """A titled table for each case that has results."""
    tables = [
        "\n".join([f"**{case.title}**", "", header, rule(columns), *map(write, results[name])])
        for name, case in cases.items()
        if results.get(name)
    ]
    return "\n\n".join(tables) or _NO_RESULTS


def line(*cells: str) -> str:
    """A line of a table."""
    # A reason may be anybody's error message.
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def rule(columns: int) -> str:
    """What stands below a table's first line."""
    return "|" + " --- |" * columns


def _number(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def _difference(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}" if value else "0"


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} MB"

"""Time and peak memory while one size grows, each contender for as long as it fits."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contenders import OURS, contender_names
from benchmarks.layer_memory import probe_memory
from benchmarks.layer_time import empty_row, measure_contenders
from benchmarks.problem import make_problem
from benchmarks.rows import Row
from benchmarks.suite import ScalingCase, Sizes

#: Of one pass; each runs three times at least: compared, timed, and alone for its memory.
_LIMIT_SECONDS = 30.0


def measure_scaling(name: str, case: ScalingCase) -> list[Row]:
    """A row for each value and contender; contenders that would take too long are left out, with the reason."""
    rows: list[Row] = []
    seconds_per_flop = dict.fromkeys(contender_names(case.against), 0.0)
    for value in case.values:
        sizes = sizes_at(case, value)
        flops = sizes.useful_flops(case.passes)
        expected = {contender: rate * flops for contender, rate in seconds_per_flop.items()}
        in_time = [contender for contender, seconds in expected.items() if seconds <= _LIMIT_SECONDS]
        if OURS not in in_time:
            in_time = []  # nobody could be compared with us
        for row in _measure_at(name, case, sizes, in_time) if in_time else []:
            if row.milliseconds is not None:
                seconds_per_flop[row.contender] = row.milliseconds / 1e3 / flops
                row = probe_memory(row, sizes, case.passes)
            rows.append(row)
        rows += [
            replace(empty_row(name, sizes, case.passes, contender), note=_too_long(seconds))
            for contender, seconds in expected.items()
            if contender not in in_time
        ]
    return rows


def _measure_at(name: str, case: ScalingCase, sizes: Sizes, contenders: list[str]) -> list[Row]:
    problem = make_problem(sizes)
    return measure_contenders(name, problem, case.passes, contenders, case.tolerance, case.repeats, case.seconds)


def _too_long(seconds: float) -> str:
    return f"would take about {seconds:.0f} s" if seconds > _LIMIT_SECONDS else "nothing to compare with in time"


def sizes_at(case: ScalingCase, value: int) -> Sizes:
    """The case's sizes with its axis at ``value``."""
    if case.axis == "points":
        return replace(case.sizes, points=value)
    if case.axis == "neighbors":
        return replace(case.sizes, neighbors=value)
    return replace(case.sizes, in_channels=value, out_channels=value)

"""Measure cases, each in a process of its own, write their CSV files and make BENCHMARKS.md anew."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.layer_memory import measure_memory
from benchmarks.layer_time import measure_layer
from benchmarks.machine import with_facts
from benchmarks.pictures import draw_scaling
from benchmarks.report import PICTURE, update_document
from benchmarks.rows import RESULTS_FOLDER, Row, read_rows, write_rows
from benchmarks.scaling import measure_scaling
from benchmarks.search import measure_search
from benchmarks.subsample import measure_subsampling
from benchmarks.suite import Case, LayerCase, MemoryCase, ScalingCase, SearchCase, SubsampleCase, load_suite
from benchmarks.training_step import measure_training

_ROOT = Path(__file__).parents[1]
_DOCUMENT = _ROOT / "BENCHMARKS.md"
_LIMIT_SECONDS = 600


def main() -> int:
    """Run from the command line; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help="names in cases.yaml; all if none is given")
    parser.add_argument("--repeats", type=int, help="rounds, in place of each case's own number")
    parser.add_argument("--here", metavar="COMMAND", help="measure one case in this process; COMMAND goes into the CSV")
    parser.add_argument("--report-only", action="store_true", help="make BENCHMARKS.md from the results that there are")
    options = parser.parse_args()
    suite = load_suite()
    for name in options.cases:
        if name not in suite.cases:
            parser.error(f"no case {name!r}; known: {', '.join(suite.cases)}")
    if options.here:
        (name,) = options.cases
        return _measure_here(name, suite.cases[name], options.repeats, options.here)

    failed = [] if options.report_only else _measure_all(options.cases or list(suite.cases), options)
    files = {name: RESULTS_FOLDER / f"{name}.csv" for name in suite.cases}
    results = {name: read_rows(path, Row) for name, path in files.items() if path.exists()}
    draw_scaling(PICTURE, suite.scaling, results)
    update_document(_DOCUMENT, suite, results)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _measure_all(names: list[str], options: argparse.Namespace) -> list[str]:
    """Measure each case in a fresh process; returns the names of those that failed."""
    command = "make bench" + (f' CASES="{" ".join(options.cases)}"' if options.cases else "")
    repeats = [] if options.repeats is None else ["--repeats", str(options.repeats)]
    failed = []
    for name in names:
        started = time.perf_counter()
        program = [sys.executable, "-m", "benchmarks", name, "--here", command, *repeats]
        try:
            status = subprocess.run(program, cwd=_ROOT, check=False, timeout=_LIMIT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            status = -1
            print(f"{name}: more than {_LIMIT_SECONDS} s")
        if status != 0:
            failed.append(name)
        print(f"{name}: {time.perf_counter() - started:.0f} s\n", flush=True)
    return failed


def _measure_here(name: str, case: Case, repeats: int | None, command: str) -> int:
    rows = [with_facts(row, command) for row in _measure(name, case, repeats)]
    RESULTS_FOLDER.mkdir(exist_ok=True)
    write_rows(RESULTS_FOLDER / f"{name}.csv", rows)
    for row in rows:
        print(_summary(row))
    return int(any(row.failed for row in rows))


def _measure(name: str, case: Case, repeats: int | None) -> list[Row]:
    if isinstance(case, MemoryCase):
        return measure_memory(name, case)
    if isinstance(case, LayerCase):
        return measure_layer(name, case if repeats is None else replace(case, repeats=repeats))
    if isinstance(case, ScalingCase):
        return measure_scaling(name, case if repeats is None else replace(case, repeats=repeats))
    if isinstance(case, SearchCase):
        return measure_search(name, case if repeats is None else replace(case, repeats=repeats))
    if isinstance(case, SubsampleCase):
        return measure_subsampling(name, case if repeats is None else replace(case, repeats=repeats))
    return measure_training(name, case if repeats is None else replace(case, rounds=repeats))


def _summary(row: Row) -> str:
    """One line for the terminal."""
    if row.dim is not None:
        return f"  {row.contender:10} {row.passes:18} N={row.points} D={row.dim} {row.milliseconds} ms {row.note}"
    sizes = f"N={row.points} K={row.neighbors} C={row.in_channels}" if row.in_channels else f"N={row.points}"
    figures = {
        "ms": row.milliseconds,
        "x ours": row.times_ours,
        "of GEMM": row.part_of_gemm,
        "points/s": row.points_per_second,
        "MB peak": row.peak_megabytes,
        "MB process": row.process_megabytes,
    }
    parts = [f"{value:.4g} {unit}" for unit, value in figures.items() if value is not None]
    return f"  {row.contender:10} {row.passes:18} {sizes:24} {', '.join([*parts, row.note])}"


if __name__ == "__main__":
    sys.exit(main())

"""Run from the command line."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import torch

import benchmarks.gpu
from benchmarks.gpu.cases import Result, load_cases
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.measure import measure_layers, measure_search, measure_steps
from benchmarks.gpu.report import section
from benchmarks.report import with_section
from benchmarks.rows import RESULTS_FOLDER, read_rows, write_rows

_RESULTS = RESULTS_FOLDER / "gpu.csv"
_DOCUMENT = Path(__file__).parents[2] / "BENCHMARKS.md"
_COMMAND = "python -m benchmarks.gpu"


def main() -> int:
    """Measure, and write the table; 1 where results disagree, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=(benchmarks.gpu.__doc__ or "").splitlines()[0])
    parser.add_argument("--report-only", action="store_true", help="make the section from the results that there are")
    options = parser.parse_args()
    cases = load_cases()
    if not options.report_only:
        if not torch.cuda.is_available():
            print("no GPU is at hand; benchmarks.gpu measures nothing without one")
            return 2
        machine = Machine(torch.device("cuda"))
        measured: list[Result] = []
        for result in itertools.chain(
            measure_layers(cases.layers, machine, cases.repeats, cases.seconds),
            measure_search(cases.search, machine),
            measure_steps(cases.training, machine),
        ):
            print(result, flush=True)
            measured.append(result)
            write_rows(_RESULTS, measured, Result)  # what there is, should the rest fail
    text = _DOCUMENT.read_text("utf-8")
    results = read_rows(_RESULTS, Result) if _RESULTS.exists() else []
    _DOCUMENT.write_text(with_section(text, "gpu", _COMMAND, section(cases, results)), "utf-8")
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main())

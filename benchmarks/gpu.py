"""The convolution on a GPU beside plain torch and two floors, search on it, and training steps.

    python -m benchmarks.gpu                 # all; results/gpu.csv and the section of BENCHMARKS.md
    python -m benchmarks.gpu --report-only   # the section from the results that there are, empty where there are none

The floor of a pass is the longer of two times: its inputs, output and gradients once over the bandwidth of a copy, and
its useful FLOPs over the rate of a 4096³ product in the same precision, both measured in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

import gridless as gl
from benchmarks.contenders import UnavailableError, prepare, require_memory
from benchmarks.gate import DisagreementError, check_agreement
from benchmarks.problem import Problem, make_problem
from benchmarks.report import line, rule, with_section
from benchmarks.rows import read_rows, write_rows
from benchmarks.suite import Pass, SearchCase, Sizes, TrainingCase
from benchmarks.timing import medians_in_turn
from benchmarks.training_step import measure_training
from gridless.data import settings_from_plain

CASES_FILE = Path(__file__).with_name("gpu.yaml")
RESULTS = Path(__file__).parent / "results" / "gpu.csv"
DOCUMENT = Path(__file__).parents[1] / "BENCHMARKS.md"
COMMAND = "python -m benchmarks.gpu"
PASSES: tuple[Pass, ...] = ("forward", "forward + backward")
OURS, BLOCKED = "triton", "blocked"
CONTENDERS = (OURS, BLOCKED, "nnconv")
Precision = Literal["float32", "tf32", "bfloat16"]
#: Largest difference from the blocked form in the same precision, as a part of the largest value.
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}
_COPIED_NUMBERS, _GEMM_SIZE = 1 << 27, 4096


@dataclass(frozen=True)
class Layers:
    """Every combination is a case; see :class:`benchmarks.suite.Sizes`."""

    points: tuple[int, ...]
    neighbors: tuple[int, ...]
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    precisions: tuple[Precision, ...]

    def __iter__(self) -> Iterator[tuple[Sizes, Precision]]:
        for points, neighbors, channels in itertools.product(self.points, self.neighbors, self.channels):
            for precision in self.precisions:
                yield Sizes(points, neighbors, channels, channels, self.hidden), precision


@dataclass(frozen=True)
class Result:
    """A row of the CSV file; None where nothing was measured."""

    kind: str
    contender: str
    passes: str = ""
    precision: str = ""
    points: int | None = None
    neighbors: int | None = None
    channels: int | None = None
    dim: int | None = None
    milliseconds: float | None = None
    floor_milliseconds: float | None = None
    peak_megabytes: float | None = None
    points_per_second: float | None = None
    difference: float | None = None
    note: str = ""
    failed: bool = False
    device: str = ""


@dataclass(frozen=True)
class Goal:
    """A figure of one case that is to be reached.

    Args:
        figure: what the report calls it.
        of: column and value of each thing that tells which rows are meant.
        column: of the result.
        over: divided by this column of it, or by that column of another contender.
        over_contender: the other one.
        at_least_or_most: as the report shows it.
        hoped_for: likewise.
    """

    figure: str
    of: dict[str, str]
    column: str
    at_least_or_most: str
    hoped_for: str
    contender: str
    over: str = ""
    over_contender: str = ""

    def value(self, results: list[Result]) -> float | None:
        """None where nobody measured it."""
        value = self._found(results, self.contender, self.column)
        if value is None or not self.over:
            return value
        divisor = self._found(results, self.over_contender or self.contender, self.over)
        return value / divisor if divisor else None

    def _found(self, results: list[Result], contender: str, column: str) -> float | None:
        for result in results:
            if result.contender == contender and all(str(getattr(result, key)) == v for key, v in self.of.items()):
                found: float | None = getattr(result, column)
                return found
        return None


@dataclass(frozen=True)
class Cases:
    """All of the file."""

    layers: Layers
    search: SearchCase
    training: TrainingCase
    goals: tuple[Goal, ...]
    repeats: int = 10
    seconds: float = 5.0


@dataclass
class Machine:
    """The device of a run, and what it does at best.

    Args:
        device: where everything lies.
        numbers: float32 numbers of the copy.
        size: of the product's matrices.
    """

    device: torch.device
    numbers: int = _COPIED_NUMBERS
    size: int = _GEMM_SIZE
    _rates: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the report calls it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, run: Callable[[], object], repeats: int = 10, seconds: float = 5.0) -> float:
        """Milliseconds of a run that is warm."""
        run()
        self.wait()
        return medians_in_turn({"": run}, repeats, seconds, self.wait)[""]

    def floor(self, sizes: Sizes, passes: Pass, precision: Precision) -> float:
        """Milliseconds below which no implementation can be."""
        moved = least_bytes(sizes, passes, 2 if precision == "bfloat16" else 4) / self._rate("copy", self._copy)
        with matmul_precision(precision):
            multiplied = sizes.useful_flops(passes) / self._rate(precision, lambda: self._gemm(precision))
        return 1e3 * max(moved, multiplied)

    def _rate(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._rates:
            self._rates[name] = measure()
        return self._rates[name]

    def _copy(self) -> float:
        """Bytes a second, read and written."""
        source = torch.zeros(self.numbers, device=self.device)
        target = torch.empty_like(source)
        return 2 * 4 * self.numbers / (1e-3 * self.median(lambda: target.copy_(source)))

    def _gemm(self, precision: Precision) -> float:
        """FLOPs a second."""
        left, right = torch.randn(2, self.size, self.size, device=self.device, dtype=dtype_of(precision))
        return 2 * self.size**3 / (1e-3 * self.median(lambda: left @ right))


def dtype_of(precision: Precision) -> torch.dtype:
    """Of features and weights."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@contextlib.contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Products of float32 in TF32 where that is asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def least_bytes(sizes: Sizes, passes: Pass, width: int) -> float:
    """Features, positions, rows, weights and output once; for a backward pass all again, and the gradients."""
    features, out = sizes.points * sizes.in_channels * width, sizes.points * sizes.out_channels * width
    rows = 8 * (sizes.pairs + sizes.points) + 4 * 3 * sizes.points
    weights = sizes.kernel_width * sizes.in_channels * sizes.out_channels * width
    once = features + out + rows + weights
    return once if passes == "forward" else 2 * once + features + weights


def measure_layers(layers: Layers, machine: Machine, repeats: int, seconds: float) -> Iterator[Result]:
    """A row for each size, precision, pass and contender."""
    for sizes, precision in layers:
        problem = None
        for passes in PASSES:
            with matmul_precision(precision):
                if problem is None:
                    problem = make_problem(sizes).to(machine.device, dtype_of(precision))
                floor = machine.floor(sizes, passes, precision)
                yield from _measure_pass(problem, passes, precision, floor, machine, repeats, seconds)


def _measure_pass(
    problem: Problem,
    passes: Pass,
    precision: Precision,
    floor: float,
    machine: Machine,
    repeats: int,
    seconds: float,
) -> Iterator[Result]:
    sizes = problem.sizes
    try:
        expected = prepare(BLOCKED, problem, passes).run(passes)
    except torch.OutOfMemoryError:
        expected = None
    for name in CONTENDERS:
        result = Result(
            "layer", name, passes, precision, sizes.points, sizes.neighbors, sizes.in_channels,
            floor_milliseconds=floor, device=machine.name,
        )  # fmt: skip
        try:
            require_memory(name, sizes, passes, machine.device)
            if expected is None:
                raise UnavailableError("the blocked form, which it is compared with, does not fit into the memory")
            contender = prepare(name, problem, passes)
            difference = check_agreement(contender.run(passes), expected, TOLERANCES[precision])
        except DisagreementError as reason:
            yield replace(result, note=str(reason), failed=True)
            continue
        except UnavailableError as reason:
            yield replace(result, note=str(reason))
            continue
        except torch.OutOfMemoryError:
            yield replace(result, note="does not fit into the memory")
            continue

        def run(contender: Any = contender) -> object:
            return contender.run(passes)

        yield replace(
            result,
            difference=difference,
            milliseconds=machine.median(run, repeats, seconds),
            peak_megabytes=_extra_megabytes(run, machine),
        )


def _extra_megabytes(run: Callable[[], object], machine: Machine) -> float | None:
    """Memory at the peak of a run, above inputs, output and gradients."""
    if machine.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(machine.device)
    before = torch.cuda.memory_allocated(machine.device)
    kept = run()
    after = torch.cuda.memory_allocated(machine.device)
    peak = torch.cuda.max_memory_allocated(machine.device)
    del kept
    return (peak - max(before, after)) / 1e6


def measure_search(case: SearchCase, machine: Machine) -> Iterator[Result]:
    """The nearest neighbors of every point: in cells, and exhaustively where that is not too much."""
    for dim, num_points in itertools.product(case.dims, case.points):
        points = torch.rand(num_points, dim, generator=torch.Generator().manual_seed(0)).to(machine.device)
        rows = {}
        for impl in ("grid", "reference"):
            result = Result(
                "search", impl, points=num_points, neighbors=case.neighbors, dim=dim, device=machine.name
            )  # fmt: skip
            if impl == "reference" and num_points > 200_000:
                yield replace(result, note="exhaustive, not tried")
                continue

            def run(impl: str = impl, points: torch.Tensor = points) -> gl.Neighborhoods:
                return gl.knn(points, points, case.neighbors, impl=impl)

            rows[impl] = run().indices
            if not torch.equal(rows[impl], rows["grid"]):
                yield replace(result, note="gives other rows than the grid", failed=True)
                continue
            yield replace(result, milliseconds=machine.median(run, case.repeats, case.seconds))


def measure_steps(case: TrainingCase, machine: Machine) -> Iterator[Result]:
    """Training steps, loader included."""
    for row in measure_training("training", case, machine.device):
        yield Result(
            "training", row.contender, "step", points=row.points, milliseconds=row.milliseconds,
            points_per_second=row.points_per_second, difference=row.difference, note=row.note, failed=row.failed,
            device=machine.name,
        )  # fmt: skip


def load_cases(path: Path = CASES_FILE) -> Cases:
    """Read the cases; RecipeError names the place of a wrong key or value."""
    return settings_from_plain(Cases, yaml.safe_load(path.read_text(encoding="utf-8")))


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


def main() -> int:
    """Measure, and write the table; 1 where results disagree, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").splitlines()[0])
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
            write_rows(RESULTS, measured, Result)  # what there is, should the rest fail
    text = DOCUMENT.read_text("utf-8")
    results = read_rows(RESULTS, Result) if RESULTS.exists() else []
    DOCUMENT.write_text(with_section(text, "gpu", COMMAND, section(cases, results)), "utf-8")
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main())

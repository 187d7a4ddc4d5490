"""Rows of results: layers that agree with the blocked form, searches, training steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

import gridless as gl
from benchmarks.contenders import UnavailableError, prepare, require_memory
from benchmarks.gate import DisagreementError, check_agreement
from benchmarks.gpu.cases import Layers, Precision, Result
from benchmarks.gpu.machine import Machine, dtype_of, matmul_precision
from benchmarks.problem import Problem, make_problem
from benchmarks.suite import Pass, SearchCase, TrainingCase
from benchmarks.training_step import measure_training

PASSES: tuple[Pass, ...] = ("forward", "forward + backward")
OURS, BLOCKED = "triton", "blocked"
CONTENDERS = (OURS, BLOCKED, "nnconv")
#: Largest difference from the blocked form in the same precision, as a part of the largest value.
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}


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

"""Times of one layer: agreement first, then turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.contender import Contender
from benchmarks.contenders import OURS, UnavailableError, contender_names, prepare
from benchmarks.gate import DisagreementError, check_agreement
from benchmarks.problem import Problem, make_problem
from benchmarks.rows import Row
from benchmarks.suite import LayerCase, Pass, Sizes
from benchmarks.timing import GEMM, gemm_gflops, make_gemm, medians_in_turn


def measure_layer(name: str, case: LayerCase) -> list[Row]:
    """A row for each pass and contender."""
    problem = make_problem(case.sizes)
    contenders = contender_names(case.against)
    return [
        row
        for passes in case.passes
        for row in measure_contenders(name, problem, passes, contenders, case.tolerance, case.repeats, case.seconds)
    ]


def measure_contenders(
    name: str,
    problem: Problem,
    passes: Pass,
    contenders: Sequence[str],
    tolerance: float,
    repeats: int,
    seconds: float,
) -> list[Row]:
    """One pass of the contenders, which are compared with the library; it must be one of them."""
    rows = {contender: empty_row(name, problem.sizes, passes, contender) for contender in contenders}
    ready = {OURS: prepare(OURS, problem, passes)}
    expected = ready[OURS].run(passes)
    for contender in contenders:
        if contender == OURS:
            continue
        try:
            candidate = prepare(contender, problem, passes)
            # This run also warms it up.
            got = candidate.run(passes)
            if candidate.same_function:
                difference = check_agreement(got, expected, tolerance)
                rows[contender] = replace(rows[contender], difference=difference)
            ready[contender] = candidate
        except UnavailableError as reason:
            rows[contender] = replace(rows[contender], note=str(reason))
        except DisagreementError as error:
            rows[contender] = replace(rows[contender], note=str(error), failed=True)

    times = medians_in_turn(
        {GEMM: make_gemm(), **{contender: _runner(run, passes) for contender, run in ready.items()}}, repeats, seconds
    )
    rate = gemm_gflops(times[GEMM])
    for contender, run in ready.items():
        milliseconds = times[contender]
        gflops = problem.sizes.useful_flops(passes) / milliseconds / 1e6 if run.same_function else None
        rows[contender] = replace(
            rows[contender],
            milliseconds=milliseconds,
            times_ours=milliseconds / times[OURS],
            useful_gflops=gflops,
            part_of_gemm=None if gflops is None else gflops / rate,
        )
    return list(rows.values())


def empty_row(name: str, sizes: Sizes, passes: Pass, contender: str) -> Row:
    """A row that says what was measured, before any figure."""
    return Row(name, contender, passes, sizes.points, sizes.neighbors, sizes.in_channels, sizes.out_channels)


def _runner(contender: Contender, passes: Pass) -> Callable[[], object]:
    return lambda: contender.run(passes)

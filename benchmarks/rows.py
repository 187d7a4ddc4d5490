"""Rows of results and their CSV files, one a case."""

from __future__ import annotations

import csv
import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridless.io import replaced_when_complete

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

RESULTS_FOLDER = Path(__file__).with_name("results")

RowT = typing.TypeVar("RowT", bound="DataclassInstance")


@dataclass(frozen=True)
class Row:
    """One contender's figures in one case; None where a figure was not measured.

    Args:
        case: name of the case.
        contender: name of the contender.
        passes: "forward", "forward + backward", "step" or the task of a search or of subsampling.
        points: N = M; of a training step, the mean number of points.
        neighbors: K.
        in_channels: C_in.
        out_channels: C_out.
        milliseconds: median.
        times_ours: milliseconds over those of the library's.
        useful_gflops: useful work over the time, GFLOP/s.
        part_of_gemm: that over the GFLOP/s of a GEMM in the same run.
        points_per_second: of training steps.
        peak_megabytes: above inputs, output and gradients.
        process_megabytes: the whole process at its peak.
        difference: from the library's output and gradients, as a part of the largest value.
        dim: D, of a search or of subsampling.
        note: why figures are missing.
        failed: the gate did not let it pass.
        date: of the measurement.
        machine: what it ran on.
        threads: of torch.
        torch: version.
        command: that repeats it.
    """

    case: str
    contender: str
    passes: str
    points: int | None = None
    neighbors: int | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    milliseconds: float | None = None
    times_ours: float | None = None
    useful_gflops: float | None = None
    part_of_gemm: float | None = None
    points_per_second: float | None = None
    peak_megabytes: float | None = None
    process_megabytes: float | None = None
    difference: float | None = None
    dim: int | None = None
    note: str = ""
    failed: bool = False
    date: str = ""
    machine: str = ""
    threads: int | None = None
    torch: str = ""
    command: str = ""


def write_rows(path: Path, rows: Sequence[RowT], kind: type[RowT] = Row) -> None:  # type: ignore[assignment]
    """Write a CSV file of rows of one dataclass; numbers with five digits."""
    with replaced_when_complete(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(kind))
        for row in rows:
            writer.writerow(_text(value) for value in dataclasses.astuple(row))


def read_rows(path: Path, kind: type[RowT] = Row) -> list[RowT]:  # type: ignore[assignment]
    """What ``write_rows`` wrote."""
    hints = typing.get_type_hints(kind)
    with open(path, newline="", encoding="utf-8") as file:
        entries = [{name: _value(hints[name], text) for name, text in entry.items()} for entry in csv.DictReader(file)]
    return [kind(**entry) for entry in entries]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _value(hint: object, text: str) -> Any:
    if hint is str:
        return text
    if hint is bool:
        return text == "True"
    if not text:
        return None
    kind: Any = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    return kind(text)

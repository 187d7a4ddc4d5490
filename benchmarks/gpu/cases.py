"""What is measured on a GPU, a row of the results, and the goals; read from cases.yaml."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from benchmarks.suite import SearchCase, Sizes, TrainingCase
from gridless.data import settings_from_plain

Precision = Literal["float32", "tf32", "bfloat16"]
_FILE = Path(__file__).with_name("cases.yaml")


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


def load_cases(path: Path = _FILE) -> Cases:
    """Read the cases; RecipeError names the place of a wrong key or value."""
    return settings_from_plain(Cases, yaml.safe_load(path.read_text(encoding="utf-8")))

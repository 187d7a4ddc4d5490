"""The command ``gridless info``: what is in point-cloud files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import gridless.io as gio

MOST_DISTINCT = 30
CLASS_COLUMNS = ("classification", "label")
ASPRS_CLASSES = {
    0: "never classified",
    1: "unclassified",
    2: "ground",
    3: "low vegetation",
    4: "medium vegetation",
    5: "high vegetation",
    6: "building",
    7: "low noise",
    8: "model key point",
    9: "water",
    10: "rail",
    11: "road surface",
    12: "overlap",
    13: "wire guard",
    14: "wire conductor",
    15: "transmission tower",
    16: "wire connector",
    17: "bridge deck",
    18: "high noise",
    19: "overhead structure",
    20: "ignored ground",
    21: "snow",
    22: "temporal exclusion",
}
"""Names of the classes in the LAS 1.4 specification, table 17."""


@dataclass
class Summary:
    """Range and, while they are few, counts of the distinct values of one column, gathered chunk by chunk."""

    dtype: str
    smallest: Any = None
    largest: Any = None
    counts: Counter[int] | None = field(default_factory=Counter)

    def add(self, values: NDArray[Any]) -> None:
        """Take in the next chunk; NaN does not count for the range."""
        if values.dtype.kind not in "biu":
            self.counts = None
        if values.dtype.kind == "f":
            values = values[~np.isnan(values)]
        if values.dtype.kind not in "biuf" or values.size == 0:
            return
        smallest, largest = values.min().item(), values.max().item()
        self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
        self.largest = largest if self.largest is None else max(self.largest, largest)
        if self.counts is not None:
            distinct, counts = np.unique(values, return_counts=True)
            if len(distinct) <= MOST_DISTINCT:
                self.counts.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
            if max(len(distinct), len(self.counts)) > MOST_DISTINCT:
                self.counts = None


def info(files: list[Path]) -> int:
    """Print format, number of points, bounds, density, reference system and columns of point-cloud files.

    Files are read in chunks, so that LAS and LAZ of any size need little memory.

    Args:
        files: files that `gridless.io.open` knows.

    Returns:
        0, the exit code.

    Raises:
        FileNotFoundError: a file does not exist.
        ReadError: a file is damaged.
        ValueError: a suffix is unknown.
    """
    console = Console()
    for path in files:
        _print_file(Path(path), console)
    return 0


def _print_file(path: Path, console: Console) -> None:
    with gio.open(path) as chunks:
        low: NDArray[np.float64] | None = None
        high: NDArray[np.float64] | None = None
        columns: dict[str, Summary] = {}
        for chunk in chunks if len(chunks) else [chunks.read_all()]:
            for name, values in chunk.columns.items():
                columns.setdefault(name, Summary(_described(values))).add(values)
            finite = chunk.positions[np.isfinite(chunk.positions).all(axis=1)]
            if len(finite):
                low = finite.min(axis=0) if low is None else np.minimum(low, finite.min(axis=0))
                high = finite.max(axis=0) if high is None else np.maximum(high, finite.max(axis=0))
        num_points, metadata = chunks.num_points, chunks.metadata
    console.print(f"[bold]{escape(str(path))}[/bold]")
    console.print(f"format   {_format(path, metadata)}", highlight=False)
    console.print(f"points   {num_points:,}", highlight=False)
    if low is not None and high is not None:
        for axis, lowest, highest in zip("xyzw", low, high, strict=False):
            span = f"{axis}        {lowest:.3f} to {highest:.3f} ({highest - lowest:.3f})"
            console.print(span, highlight=False)
        area = float(np.prod((high - low)[:2])) if len(low) > 1 else 0.0
        if area > 0:
            console.print(
                f"density  {num_points / area:.3g} points per m² of the bounding box in x, y", highlight=False
            )
    if "crs" in metadata:
        console.print(f"crs      {escape(_name_of_crs(metadata['crs']))}", highlight=False)
    if columns:
        console.print(_table(columns, path.suffix.lower() in (".las", ".laz")))


def _format(path: Path, metadata: dict[str, Any]) -> str:
    header = metadata.get("las_header")
    name = path.suffix[1:].upper()
    return name if header is None else f"{name} {header.version}, point format {header.point_format.id}"


def _name_of_crs(crs: str) -> str:
    """The name in quotes at the start of well-known text, else the text itself."""
    quoted = crs.split('"', 2)
    return quoted[1] if len(quoted) == 3 else crs


def _described(values: NDArray[Any]) -> str:
    return str(values.dtype) + "".join(f" × {count}" for count in values.shape[1:])


def _table(columns: dict[str, Summary], names_of_classes: bool) -> Table:
    table = Table("column", "type", "min", "max", "values")
    for name, summary in columns.items():
        ends = (summary.smallest, summary.largest)
        shown = ["" if end is None else f"{end:.6g}" if isinstance(end, float) else str(end) for end in ends]
        table.add_row(escape(name), summary.dtype, *shown, _values(name, summary, names_of_classes))
    return table


def _values(name: str, summary: Summary, names_of_classes: bool) -> str:
    if summary.counts is None:
        return f"> {MOST_DISTINCT} distinct" if "int" in summary.dtype else ""
    if name not in CLASS_COLUMNS:
        return f"{len(summary.counts)} distinct"
    lines = []
    total = summary.counts.total()
    for value, count in sorted(summary.counts.items()):
        meaning = f" {ASPRS_CLASSES.get(value, 'reserved or user defined')}" if names_of_classes else ""
        lines.append(f"{value}{meaning}: {count:,} ({count / total:.1%})")
    return "\n".join(lines)

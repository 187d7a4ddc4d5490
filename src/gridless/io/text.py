"""Delimited text: .txt .csv .xyz .pts .asc, with or without a line of names."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks

INTEGER = re.compile(r"[+-]?\d{1,19}")
INT64 = np.iinfo(np.int64)
AXES = ("x", "y", "z")


def open_chunks(path: Path, chunk_size: int) -> PointChunks:
    """Open a text file (read whole, then cut).

    Comma, semicolon, tab or white space separate; "#" starts a comment. With a line of names, x, y (and z) in it are
    the positions, otherwise the first three columns (two, if there are no more). Unnamed columns are called column_3
    and so on. A column with nothing but integers is int64, any other float64 (integers beyond int64 too).
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = _data_lines(file)
        first = next(lines, None)
        if first is None:
            raise ReadError(path, "the file is empty or has nothing but comments")
        promised = None
        if path.suffix.lower() == ".pts" and INTEGER.fullmatch(first[1]):
            promised = int(first[1])
            first = next(lines, first)
        number, line = first
        delimiter = next((mark for mark in ";\t," if mark in line), None)
        words = _split(line.removeprefix("//"), delimiter)
        has_names = not all(_is_number(word) for word in words)
        names = (
            _names(path, words, number)
            if has_names
            else [*AXES, *(f"column_{i}" for i in range(3, len(words)))][: len(words)]
        )
        if has_names:
            number, line = next(lines, (number, ""))
            words = _split(line, delimiter) if line else []
    axes = [name for name in AXES if name in names]
    if axes not in (["x", "y"], [*AXES]):
        raise ReadError(path, f"needs at least two columns x, y, it has {', '.join(names)}", f"line {number}")
    fields = _read_rows(path, number - 1, delimiter, names, words)
    if promised is not None and promised != len(fields):
        raise ReadError(path, f"the first line promises {promised} points, the file has {len(fields)}")
    keys = dict(zip(names, fields.dtype.names or (), strict=True))
    positions = np.stack([fields[keys[axis]].astype(np.float64) for axis in axes], axis=1)
    columns = {name: fields[key].copy() for name, key in keys.items() if name not in axes}
    cloud = PointCloud(positions, columns)
    return PointChunks(len(cloud), chunk_size, lambda start, stop: cloud[start:stop])


def write(path: Path, cloud: PointCloud, delimiter: str | None = None) -> None:
    """Write a line of names and one line per point; floats have the digits that read back as the same number.

    Args:
        path: the file.
        cloud: positions [N, 2] or [N, 3]; [N, k] columns become name_0 ... name_{k-1}.
        delimiter: default "," for .csv and one space for the others.

    Raises:
        ValueError: wrong number of coordinates, a name that would not read back, or columns that are not numbers.
    """
    if cloud.dim not in (2, 3):
        raise ValueError(f"write: text positions are [N, 2] or [N, 3], got shape {cloud.positions.shape}")
    if delimiter is None:
        delimiter = "," if path.suffix.lower() == ".csv" else " "
    if delimiter not in (",", ";", "\t", " "):
        raise ValueError(f"write: delimiter must be ',', ';', a tab or a space, got {delimiter!r}")
    printed: dict[str, list[Any]] = {axis: cloud.positions[:, i].tolist() for i, axis in enumerate(AXES[: cloud.dim])}
    for name, values in cloud.columns.items():
        if values.dtype.kind not in "biuf":
            raise ValueError(f"write: column {name!r} of dtype {values.dtype} is no number; convert it or drop it")
        flat = values.astype(np.uint8) if values.dtype == np.bool_ else values
        flat = flat.reshape(len(values), int(np.prod(values.shape[1:])))
        for index in range(flat.shape[1]):
            part = name if values.ndim == 1 else f"{name}_{index}"
            if part in printed or part.lower() in AXES or not re.fullmatch(r"[^\s,;#\"'/]+", part) or _is_number(part):
                raise ValueError(f"write: {part!r} would not read back as a column name; rename the column")
            printed[part] = flat[:, index].tolist()
    with replaced_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(printed)
        writer.writerows(zip(*printed.values(), strict=True))


def _data_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Line numbers and lines without comments and empty lines."""
    for number, line in enumerate(lines, 1):
        content = line.split("#", 1)[0].strip(" \r\n")
        if content.strip():
            yield number, content


def _split(line: str, delimiter: str | None) -> list[str]:
    return [word.strip() for word in line.split(delimiter)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word  # Python reads 1_000, data files do not mean it


def _is_integer(word: str) -> bool:
    return bool(INTEGER.fullmatch(word)) and INT64.min <= int(word) <= INT64.max


def _names(path: Path, words: list[str], number: int) -> list[str]:
    names = [word.strip("\"' ") for word in words]
    names = [name.lower() if name.lower() in AXES else name for name in names]
    if "x" not in names:
        if any(map(_is_number, words)):  # a row of values with a gap, not names
            bad = next(word for word in words if not _is_number(word))
            raise ReadError(path, f"{bad!r} is not a number", f"line {number}")
        names[:3] = AXES[: len(names)]
    repeated = [name for name in names if names.count(name) > 1 or not name]
    if repeated:
        raise ReadError(path, f"the line of names has {repeated[0]!r} empty or more than once: {', '.join(names)}")
    return names


def _read_rows(path: Path, skip: int, delimiter: str | None, names: list[str], first_row: list[str]) -> NDArray[Any]:
    integers = [_is_integer(word) and name not in AXES for name, word in zip(names, first_row, strict=False)]
    integers += [False] * (len(names) - len(integers))
    if not first_row:
        return np.empty(0, _dtype(integers))
    try:
        return _load(path, skip, delimiter, integers)
    except (ValueError, OverflowError, DeprecationWarning) as error:
        # Only now look at every line in Python: for the number of a bad one, or for a column that is not all integers.
        refused = str(error)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in _data_lines(file):
            if number <= skip:
                continue
            words = _split(line, delimiter)
            bad = next((word for word in words if not _is_number(word)), None)
            if bad is not None or len(words) != len(names):
                problem = (
                    f"{bad!r} is not a number" if bad is not None else f"{len(words)} values, expected {len(names)}"
                )
                raise ReadError(path, problem, f"line {number}")
            integers = [was and _is_integer(word) for was, word in zip(integers, words, strict=True)]
    try:
        return _load(path, skip, delimiter, integers)
    except (ValueError, OverflowError, DeprecationWarning) as error:
        raise ReadError(path, f"a row cannot be read: {refused}") from error


def _load(path: Path, skip: int, delimiter: str | None, integers: list[bool]) -> NDArray[Any]:
    with path.open(encoding="utf-8-sig", errors="replace") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", DeprecationWarning)  # numpy < 2.3 only warns that it cuts 0.75 to the integer 0
        rows = islice(file, skip, None)
        return np.loadtxt(rows, _dtype(integers), delimiter=delimiter, ndmin=1)


def _dtype(integers: list[bool]) -> np.dtype[Any]:
    return np.dtype([(f"f{index}", np.int64 if whole else np.float64) for index, whole in enumerate(integers)])

"""Training curves from the metrics.csv that training leaves."""

from __future__ import annotations

import csv
import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gridless.errors import ReadError

Curves: TypeAlias = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def read_curves(csv_path: str | os.PathLike[str]) -> Curves:
    """Read a metrics.csv with the columns step, epoch and one per logged value.

    Args:
        csv_path: the file; blank cells mean "not logged in this row" and are skipped.

    Returns:
        name -> (steps [n], values [n]) for each column other than step and epoch that has values.

    Raises:
        ReadError: there is no column step, or a cell is not a number.
        FileNotFoundError: no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "metrics.csv")
        ...     with open(path, "w") as file:
        ...         _ = file.write("epoch,step,train_loss,val_miou\\n0,9,0.5,\\n0,9,,0.7\\n")
        ...     read_curves(path)["val_miou"][1].tolist()
        [0.7]
    """
    points: dict[str, list[tuple[float, float]]] = {}
    with open(csv_path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "step" not in (reader.fieldnames or []):
            raise ReadError(
                csv_path, f"no column 'step'; its columns are {', '.join(reader.fieldnames or []) or 'none'}"
            )
        names = [name for name in reader.fieldnames or [] if name not in ("step", "epoch")]
        for row in reader:
            for name in names:
                if not row[name]:
                    continue
                try:
                    points.setdefault(name, []).append((float(row["step"]), float(row[name])))
                except ValueError as error:
                    raise ReadError(csv_path, f"column {name!r}: {error}", f"line {reader.line_num}") from error
    return {name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in points.items()}

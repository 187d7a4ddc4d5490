"""The curves of a run, put together from its parts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.training.layout import CURVES_FOLDER


def read_curves(run: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Every logged quantity of a run: name -> (steps, values), in the order of steps.

    A training that was resumed has several tables; where they overlap (steps done again after a kill), the later holds.

    Args:
        run: the run's folder.

    Raises:
        FileNotFoundError: no curves there.
    """
    tables = sorted((run / CURVES_FOLDER).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:]))
    if not tables:
        raise FileNotFoundError(f"{run} has no curves (looked for {run / CURVES_FOLDER / 'version_*' / 'metrics.csv'})")
    values: dict[str, dict[int, float]] = {}
    for table in tables:
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if text and name not in ("step", "epoch"):
                        values.setdefault(name, {})[int(row["step"])] = float(text)
    return {
        name: (np.array(sorted(points), float), np.array([points[step] for step in sorted(points)]))
        for name, points in values.items()
    }

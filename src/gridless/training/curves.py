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
        for row in csv.DictReader(_whole_lines(table)):
            for name, text in row.items():
                if text and name not in ("step", "epoch"):
                    values.setdefault(name, {})[int(row["step"])] = float(text)
    return {
        name: (np.array(sorted(points), float), np.array([points[step] for step in sorted(points)]))
        for name, points in values.items()
    }


def _whole_lines(table: Path) -> list[str]:
    """The lines of a table without the last one if a kill or a full disk cut it short: half a number is another one."""
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    return lines if lines and lines[-1].endswith("\n") else lines[:-1]

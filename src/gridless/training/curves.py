"""The curves of a run, put together from its parts."""

from __future__ import annotations

import csv
from pathlib import Path


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every logged quantity of a run as (step, value) pairs in the order of steps.

    A training that was resumed has several tables; where they overlap (steps done again after a kill), the later holds.

    Args:
        run: the run's folder.

    Raises:
        FileNotFoundError: no curves there.
    """
    tables = sorted((run / "curves").glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:]))
    if not tables:
        raise FileNotFoundError(f"{run} has no curves (looked for {run / 'curves' / 'version_*' / 'metrics.csv'})")
    values: dict[str, dict[int, float]] = {}
    for table in tables:
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if text and name not in ("step", "epoch"):
                        values.setdefault(name, {})[int(row["step"])] = float(text)
    return {name: sorted(points.items()) for name, points in values.items()}

"""How densely files cover the ground: what a network of the package is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import horizontal
from gridless.data import covering_centers
from gridless.io import open as open_file
from gridless.prediction.large.neighbors import header_bounds
from gridless.prediction.memory import POINTS_AT_A_TIME

_POINTS_A_CELL = 10


def ground_density(files: Sequence[Path], enough: float) -> float:
    """Points per square unit of the ground that files cover together, or a lower bound of at least ``enough``.

    Where the headers' bounds alone promise ``enough``, no point is read: a file has no fewer points on what it covers
    than on its bounding box.

    Args:
        files: point clouds; files without points count as nothing.
        enough: above this the number does not matter.

    Raises:
        ReadError: a file is damaged.

    Example:
        >>> import tempfile
        >>> from gridless import PointCloud
        >>> from gridless.io import write
        >>> file = Path(tempfile.mkdtemp()) / "square.npz"
        >>> write(file, PointCloud(np.random.default_rng(0).random((10_000, 3)) * [100, 100, 5]))
        >>> bool(0.9 < ground_density([file], enough=4.0) < 1.3)
        True
    """
    side = np.sqrt(_POINTS_A_CELL / enough)
    num_points, covered = 0, 0.0
    for file in files:
        cells: list[NDArray[np.float64]] = []
        with open_file(file, chunk_size=POINTS_AT_A_TIME) as chunks:
            num_points += len(chunks)
            if (box := header_bounds(chunks)) is not None:
                area = float(np.prod(np.maximum(horizontal(box[1] - box[0]), side)))
                if len(chunks) >= enough * area:
                    covered += area
                    continue
            for chunk in chunks:
                places = chunk.horizontal
                known = np.isfinite(places).all(axis=1)  # who labels the file tells of the others
                cells.append(covering_centers(places[known], side, np.zeros(places.shape[1])))
        if cells:
            distinct = np.unique(np.concatenate(cells), axis=0)
            covered += len(distinct) * side ** distinct.shape[1]
    return num_points / covered if covered else 0.0

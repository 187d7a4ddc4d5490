"""Objects whose points are drawn already: one archive a part."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.archive import read_arrays
from gridless.data.published.base import DataSet
from gridless.data.published.unit_ball import in_unit_ball
from gridless.errors import ReadError


class SampledObjects(DataSet):
    """Objects of one class each in NPZ archives; the parts are the archives' names (train, test).

    ``part.npz`` with ``points`` [objects, n, 3] (any unit, the third coordinate up), ``label`` [objects] from 0, and
    ``classes``, the names. A cloud is moved and scaled into the ball of radius 1; its column ``label`` has the class at
    every point. One path of :meth:`files` is the archive's followed by the row, ``train.npz/17``.

    Args:
        root: folder that has the archives in it.

    Raises:
        FileNotFoundError: no such folder, or no archive in it.

    Example:
        >>> import tempfile; folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "train.npz", points=np.eye(3)[None], label=np.array([1]), classes=["bed", "sofa"])
        >>> data = SampledObjects(folder)
        >>> [file.relative_to(folder).as_posix() for file in data.files("train")], data.labels.names
        (['train.npz/0'], ('bed', 'sofa'))
        >>> data.read(data.files("train")[0])["label"].tolist()
        [1, 1, 1]
    """

    task = "classification"
    title = "sampled objects"
    how_to_get = (
        "Save train.npz and test.npz with the arrays points [objects, n, 3], label [objects] and classes; the path is "
        "the folder that has them in it."
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._archives: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self.class_names = tuple(str(name) for name in read_arrays(self._parts[0], "classes")[0])

    @property
    def labels(self) -> LabelMap:
        return LabelMap.numbered(self.class_names)

    def files(self, part: str) -> list[Path]:
        self.one_of(part, [archive.stem for archive in self._parts])
        points, _ = self._arrays(part)
        return [self.root / f"{part}.npz" / str(row) for row in range(len(points))]

    def stratum(self, path: Path) -> str:
        _, labels = self._arrays(path.parent.stem)
        return self.class_names[labels[int(path.name)]]

    def read(self, path: Path) -> PointCloud:
        points, labels = self._arrays(path.parent.stem)
        row = int(path.name)
        positions = points[row].astype(np.float64)
        return PointCloud(in_unit_ball(positions), {"label": np.full(len(positions), labels[row], np.uint8)})

    @cached_property
    def _parts(self) -> list[Path]:
        archives = sorted(self.root.glob("*.npz"))
        if not archives:
            raise FileNotFoundError(f"{self.title}: no .npz archive in {self.root}. {self.how_to_get}")
        return archives

    def _arrays(self, part: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Points and labels of a part, read once."""
        if part not in self._archives:
            path = self.root / f"{part}.npz"
            points, labels, classes = read_arrays(path, "points", "label", "classes")
            if points.ndim != 3 or points.shape[1] == 0 or labels.shape != points.shape[:1]:
                raise ReadError(
                    path,
                    f"points must be [objects, n > 0, 3] and label [objects], got {points.shape} and {labels.shape}",
                )
            if tuple(classes) != self.class_names:
                raise ReadError(path, f"classes are {', '.join(classes)}, in another archive {self.class_names}")
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
                raise ReadError(path, f"label must be in 0 .. {len(classes) - 1}")
            self._archives[part] = points, labels
        return self._archives[part]

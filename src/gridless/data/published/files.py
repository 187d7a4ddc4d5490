"""Files of one's own: LAS, LAZ, PLY and whatever else can be read, whose labels a recipe describes."""

from __future__ import annotations

from pathlib import Path

from gridless.cloud import PointCloud
from gridless.data.files import find_files
from gridless.data.labels import LabelMap
from gridless.data.published.base import DataSet
from gridless.io import read


class Files(DataSet):
    """Files, folders or patterns as parts; the recipe says which column holds the labels and what they mean.

    Args:
        root: folder that relative parts start from.
        labels: the recipe's.

    Example:
        >>> import tempfile; from gridless.io import write; root = Path(tempfile.mkdtemp())
        >>> write(root / "scan.ply", PointCloud([[0.0, 0.0, 0.0]]))
        >>> data = Files(root, LabelMap({"ground": [2]}))
        >>> [len(data.read(file)) for file in data.files("*.ply")]
        [1]
    """

    title = "files"
    how_to_get = "Give files, folders or patterns that exist."

    def __init__(self, root: Path, labels: LabelMap) -> None:
        super().__init__(root)
        self._labels = labels

    @property
    def labels(self) -> LabelMap:
        return self._labels

    def files(self, part: str) -> list[Path]:
        return find_files([part], self.root)

    def read(self, path: Path) -> PointCloud:
        return read(path)

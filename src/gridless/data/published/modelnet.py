"""ModelNet40 and ModelNet10: objects as meshes, one class each."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.base import DataSet
from gridless.data.published.off import points_on_surface, read_off
from gridless.data.published.unit_ball import in_unit_ball
from gridless.errors import ReadError


class ModelNet40(DataSet):
    """ModelNet40, or ModelNet10 with ``num_classes=10``; parts are train and test.

    ``class/train/class_0001.off`` and ``class/test/...``; the classes are the folders, in the order of their names. A
    cloud is drawn evenly from the mesh, the middle of its bounds moved to the origin and its farthest point to distance
    1; its column ``label`` has the class at every point. The same file and seed give the same points.

    Args:
        root: folder that has the class folders in it.
        num_points: drawn from each surface.
        seed: of the draws.
        num_classes: 40 or 10; ValueError if there are others.

    Source: Wu et al., "3D ShapeNets: A Deep Representation for Volumetric Shapes", CVPR 2015.

    Example:
        >>> import tempfile; root = Path(tempfile.mkdtemp())
        >>> folder = root / "table" / "train"; folder.mkdir(parents=True)
        >>> _ = (folder / "table_0001.off").write_text("OFF3 1 0  0 0 0  9 0 0  0 9 0  3 0 1 2")
        >>> data = ModelNet40(root, num_points=50, num_classes=1)
        >>> data.read(data.files("train")[0]).positions.shape
        (50, 3)
    """

    task = "classification"
    title = "ModelNet"
    how_to_get = (
        "Unpack http://modelnet.cs.princeton.edu/ModelNet40.zip (or ModelNet10.zip from the same page); "
        "the path is the folder that has airplane/train (in ModelNet10 bathtub/train) in it."
    )

    def __init__(self, root: Path, num_points: int = 1024, seed: int = 0, num_classes: int = 40) -> None:
        super().__init__(root)
        self.num_points, self.seed = num_points, seed
        self.class_names = tuple(sorted(folder.parent.name for folder in root.glob("*/train") if folder.is_dir()))
        if len(self.class_names) != num_classes:
            raise ValueError(
                f"{self.title}: {root} has {len(self.class_names)} folders class/train, expected {num_classes} (set "
                f"data.options.num_classes for another number). {self.how_to_get}"
            )

    @property
    def published_counts(self) -> dict[str, int]:
        counts = {40: {"train": 9843, "test": 2468}, 10: {"train": 3991, "test": 908}}
        return counts.get(len(self.class_names), {})

    @property
    def cache_key(self) -> str:
        return f"{super().cache_key} {self.num_points} points, seed {self.seed}"

    @property
    def labels(self) -> LabelMap:
        return LabelMap.numbered(self.class_names)

    def files(self, part: str) -> list[Path]:
        self.one_of(part, ("train", "test"))
        found = [sorted(self.require(self.root / name / part).glob("[!.]*.off")) for name in self.class_names]
        if not any(found):
            raise FileNotFoundError(f"{self.title}: no .off file in {self.root}/*/{part}. {self.how_to_get}")
        return [file for files in found for file in files]

    def stratum(self, path: Path) -> str:
        return path.parent.parent.name

    def read(self, path: Path) -> PointCloud:
        vertices, triangles = read_off(path)
        if not len(vertices):
            raise ReadError(path, "has no vertex")
        rng = np.random.default_rng((self.seed, zlib.crc32(path.name.encode())))
        points = points_on_surface(vertices, triangles, self.num_points, rng)
        label = self.class_names.index(self.stratum(path))
        return PointCloud(in_unit_ball(points), {"label": np.full(len(points), label, np.uint8)})

"""ShapeNetPart: objects of sixteen categories with a part label a point."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.base import DataSet
from gridless.errors import ReadError

PARTS_OF_CATEGORY = {
    "Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3, "Knife": 2, "Lamp": 4,
    "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3, "Skateboard": 3, "Table": 3,
}  # fmt: skip
"""The fifty parts are numbered through, category by category."""
_FIRST_PARTS = dict(zip(PARTS_OF_CATEGORY, itertools.accumulate(PARTS_OF_CATEGORY.values(), initial=0), strict=False))
_NUM_VALUES = 7


class ShapeNetPart(DataSet):
    """ShapeNetPart with normals (version 0); parts are train, val and test.

    ``synsetoffset2category.txt`` (lines ``Airplane 02691156``), ``02691156/id.txt`` with lines ``x y z nx ny nz part``,
    and ``train_test_split/shuffled_{train,val,test}_file_list.json``, lists of ``"shape_data/02691156/id"``. Clouds
    have ``normal`` [N, 3], ``label`` (part 0 ... 49) and ``category`` (0 ... 15).

    Args:
        root: folder that has synsetoffset2category.txt in it.

    Source: Yi et al., "A Scalable Active Framework for Region Annotation in 3D Shape Collections", SIGGRAPH Asia 2016.

    Example:
        >>> import tempfile; root = Path(tempfile.mkdtemp())
        >>> _ = (root / "synsetoffset2category.txt").write_text("Mug 03797390")
        >>> data = ShapeNetPart(root)
        >>> data.category_of_folder, len(data.labels.names)
        ({'03797390': 'Mug'}, 50)
    """

    title = "ShapeNetPart"
    how_to_get = (
        "Unpack shapenetcore_partanno_segmentation_benchmark_v0_normal.zip (ShapeNet's site offers it after signing "
        "up, https://shapenet.org); the path is the folder that has synsetoffset2category.txt in it."
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        table = self.require(root / "synsetoffset2category.txt")
        self.category_of_folder: dict[str, str] = {}
        for number, line in enumerate(table.read_text(encoding="utf-8-sig").splitlines(), 1):
            words = line.split()
            if words and (len(words) != 2 or words[0] not in PARTS_OF_CATEGORY):
                raise ReadError(table, f"expected a category and its folder, got {line!r}", f"line {number}")
            if words:
                self.category_of_folder[words[1]] = words[0]

    @property
    def published_counts(self) -> dict[str, int]:
        return {"test": 2874}

    @property
    def labels(self) -> LabelMap:
        names = [f"{category} {part}" for category, count in PARTS_OF_CATEGORY.items() for part in range(count)]
        return LabelMap.numbered(names)

    def files(self, part: str) -> list[Path]:
        self.one_of(part, ("train", "val", "test"))
        listed = self.require(self.root / "train_test_split" / f"shuffled_{part}_file_list.json")
        try:
            entries = [tuple(entry.split("/")[-2:]) for entry in json.loads(listed.read_text(encoding="utf-8-sig"))]
            found = sorted(self.root / folder / f"{name}.txt" for folder, name in entries)
        except (ValueError, AttributeError) as error:
            raise ReadError(listed, f"expected a list of 'shape_data/folder/id': {error}") from error
        for file in found:
            if file.parent.name not in self.category_of_folder:
                raise ReadError(listed, f"names the folder {file.parent.name!r}, which is of no category")
            self.require(file)
        return found

    def stratum(self, path: Path) -> str:
        return path.parent.name

    def read(self, path: Path) -> PointCloud:
        try:
            values = np.loadtxt(path, ndmin=2, encoding="utf-8-sig")
        except ValueError as error:
            raise ReadError(path, f"expected lines of x y z nx ny nz part: {error}") from error
        if values.shape[1] != _NUM_VALUES:
            raise ReadError(path, f"expected lines of x y z nx ny nz part, got {values.shape[1]} values")
        name = self.category_of_folder[path.parent.name]
        category = list(PARTS_OF_CATEGORY).index(name)
        parts = range(_FIRST_PARTS[name], _FIRST_PARTS[name] + PARTS_OF_CATEGORY[name])
        strange = ~np.isin(values[:, 6], parts)
        if strange.any():
            row = int(np.argmax(strange))
            raise ReadError(
                path,
                f"{name} has the parts {parts.start} to {parts.stop - 1}, got {values[row, 6]:g}",
                f"line {row + 1}",
            )
        return PointCloud(
            values[:, :3],
            {
                "normal": values[:, 3:6].astype(np.float32),
                "label": values[:, 6].astype(np.uint8),
                "category": np.full(len(values), category, np.uint8),
            },
        )

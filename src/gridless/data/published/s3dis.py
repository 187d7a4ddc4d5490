"""S3DIS: rooms of six office areas, as text files of one object each."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.base import DataSet
from gridless.errors import ReadError

CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board",
    "clutter",
)  # fmt: skip
AREAS = ("Area_1", "Area_2", "Area_3", "Area_4", "Area_5", "Area_6")
_NUM_VALUES = 6
# "wall_3 (1).txt" in Area_5/office_36 is a copy.
_OBJECT = re.compile(r"\w+_\d+\.txt")
# Area_5/hallway_6/Annotations/ceiling_1.txt has a control character where a space belongs.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")


class S3DIS(DataSet):
    """Stanford Large-Scale 3D Indoor Spaces, aligned version 1.2; parts are Area_1 ... Area_6.

    ``Area_N/room/Annotations/class_i.txt``: an object a file, lines ``x y z r g b`` (metres, 0 ... 255). The class is
    the file's name up to the last underscore; a name that is none of the thirteen (stairs) counts as clutter. Clouds
    have ``rgb`` [N, 3] uint8, ``label`` and ``instance`` (the file's number in the room, from 0).

    Args:
        root: folder that has the areas in it.

    Source: Armeni et al., "3D Semantic Parsing of Large-Scale Indoor Spaces", CVPR 2016.

    Example:
        >>> import tempfile; root = Path(tempfile.mkdtemp())
        >>> folder = root / "Area_5" / "office_1" / "Annotations"; folder.mkdir(parents=True)
        >>> _ = (folder / "chair_1.txt").write_text("1.5 2.0 0.4 120 80 40")
        >>> data = S3DIS(root)
        >>> room = data.read(data.files("Area_5")[0])
        >>> room["rgb"].tolist(), data.labels.names[room["label"][0]]
        ([[120, 80, 40]], 'chair')
    """

    title = "S3DIS"
    how_to_get = (
        "Ask its authors for it (Stanford University, http://buildingparser.stanford.edu) and unpack "
        "Stanford3dDataset_v1.2_Aligned_Version.zip; the path is the folder that has Area_1 ... Area_6 in it."
    )

    @property
    def labels(self) -> LabelMap:
        return LabelMap.numbered(CLASSES)

    def files(self, part: str) -> list[Path]:
        area = self.require(self.root / self.one_of(part, AREAS))
        rooms = sorted(folder.parent for folder in area.glob("*/Annotations") if folder.is_dir())
        if not rooms:
            raise FileNotFoundError(f"{self.title}: {area} has no room with a folder Annotations. {self.how_to_get}")
        return rooms

    def read(self, path: Path) -> PointCloud:
        objects = sorted(file for file in (path / "Annotations").glob("*.txt") if _OBJECT.fullmatch(file.name))
        if not objects:
            raise ReadError(path / "Annotations", "holds no text file of an object")
        values = [_read_object(file) for file in objects]
        sizes = [len(rows) for rows in values]
        labels = [_class_of(file) for file in objects]
        joined = np.concatenate(values)
        return PointCloud(
            joined[:, :3],
            {
                "rgb": joined[:, 3:].clip(0, 255).astype(np.uint8),
                "label": np.repeat(np.array(labels, np.uint8), sizes),
                "instance": np.repeat(np.arange(len(objects), dtype=np.uint16), sizes),
            },
        )


def _class_of(file: Path) -> int:
    name = file.stem.rpartition("_")[0]
    return CLASSES.index(name) if name in CLASSES else CLASSES.index("clutter")


def _read_object(file: Path) -> NDArray[np.float64]:
    content = _CONTROL.sub(b" ", file.read_bytes().removeprefix(codecs.BOM_UTF8))
    if not content.strip():
        return np.zeros((0, _NUM_VALUES))
    try:
        values = np.loadtxt(io.BytesIO(content), ndmin=2)
    except ValueError as error:
        raise ReadError(file, f"expected lines of x y z r g b: {error}") from error
    if values.shape[1] != _NUM_VALUES:
        raise ReadError(file, f"expected lines of x y z r g b, got {values.shape[1]} values")
    return values

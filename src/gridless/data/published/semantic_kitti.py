"""SemanticKITTI: scans of a car's LiDAR with a label a point."""

from __future__ import annotations

from pathlib import Path

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.base import DataSet
from gridless.errors import ReadError
from gridless.io import read
from gridless.io.kitti import label_path

SCANS_IN_SEQUENCE = (
    4541, 1101, 4661, 801, 271, 2761, 1101, 1101, 4071, 1591, 1201,
    921, 1061, 3281, 631, 1901, 1731, 491, 1801, 4981, 831, 2721,
)  # fmt: skip


SEQUENCES_OF_SPLIT = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "valid": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}


class SemanticKITTI(DataSet):
    """SemanticKITTI, single-scan task; parts are train, valid, test, or sequences "00" ... "21".

    ``sequences/NN/velodyne/NNNNNN.bin`` (float32 x y z intensity) and ``sequences/NN/labels/NNNNNN.label`` (uint32: the
    low 16 bits the class, the high 16 the instance), none for the test sequences 11 ... 21. Clouds have ``intensity``,
    ``label`` and ``instance``. 34 raw labels make 19 classes, moving objects with standing ones; the rest is ignored.

    Args:
        root: folder that has ``sequences`` in it.

    Source: Behley et al., "SemanticKITTI: A Dataset for Semantic Scene Understanding of LiDAR Sequences", ICCV 2019;
    label map and split as in the authors' semantic-kitti-api, config/semantic-kitti.yaml.

    Example:
        >>> labels = SemanticKITTI(Path()).labels
        >>> [labels.names[number] for number in labels.encode([10, 252, 40])]
        ['car', 'car', 'road']
    """

    title = "SemanticKITTI"
    how_to_get = (
        "Get the velodyne scans from https://www.cvlibs.net/datasets/kitti/eval_odometry.php and the labels from "
        "https://www.semantic-kitti.org/dataset.html; the path is the folder that has sequences/00/velodyne in it."
    )

    @property
    def published_counts(self) -> dict[str, int]:
        return {f"{number:02}": scans for number, scans in enumerate(SCANS_IN_SEQUENCE)}

    @property
    def labels(self) -> LabelMap:
        return LabelMap(
            {
                "car": [10, 252],
                "bicycle": [11],
                "motorcycle": [15],
                "truck": [18, 258],
                "other-vehicle": [20, 13, 16, 256, 257, 259],
                "person": [30, 254],
                "bicyclist": [31, 253],
                "motorcyclist": [32, 255],
                "road": [40, 60],
                "parking": [44],
                "sidewalk": [48],
                "other-ground": [49],
                "building": [50],
                "fence": [51],
                "vegetation": [70],
                "trunk": [71],
                "terrain": [72],
                "pole": [80],
                "traffic-sign": [81],
            },
            ignored=[0, 1, 52, 99],
            column="label",
        )

    def files(self, part: str) -> list[Path]:
        if part in SEQUENCES_OF_SPLIT:
            return [file for sequence in SEQUENCES_OF_SPLIT[part] for file in self.files(sequence)]
        self.one_of(part, [*SEQUENCES_OF_SPLIT, *self.published_counts])
        folder = self.require(self.root / "sequences" / part / "velodyne")
        scans = sorted(folder.glob("[!.]*.bin"))
        if not scans:
            raise FileNotFoundError(f"{self.title}: {folder} has no .bin file. {self.how_to_get}")
        if _is_labelled(scans[0]) and not any(label_path(scan).exists() for scan in scans):
            raise FileNotFoundError(f"{self.title}: no scan in {folder} has a label file. {self.how_to_get}")
        return scans

    def incomplete_parts(self, parts: list[str]) -> list[str]:
        return super().incomplete_parts([name for part in parts for name in SEQUENCES_OF_SPLIT.get(part, (part,))])

    def read(self, path: Path) -> PointCloud:
        if _is_labelled(path) and not label_path(path).exists():
            raise ReadError(path, f"its label file is missing (looked for {label_path(path)})")
        return read(path)


def _is_labelled(scan: Path) -> bool:
    """Whether labels of the scan's sequence are published."""
    return scan.parent.parent.name not in SEQUENCES_OF_SPLIT["test"]

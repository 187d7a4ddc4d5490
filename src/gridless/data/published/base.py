"""What every data set on disk has: parts made of files, classes, and words for those who do not have it yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from gridless.cloud import PointCloud
from gridless.data.inputs import InputSettings, PreparedCloud
from gridless.data.labels import LabelMap
from gridless.data.variants import CloudVariant

Task = Literal["segmentation", "classification"]
_AS_IT_IS = CloudVariant()


class DataSet(ABC):
    """Labelled clouds in the layout of their publisher, found by part and read one at a time.

    Args:
        root: folder that the layout starts from.

    Raises:
        FileNotFoundError: no such folder; says how to get the data.
    """

    task: ClassVar[Task] = "segmentation"
    title: ClassVar[str]
    how_to_get: ClassVar[str]
    """Where the publisher offers it, and what the folder holds afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.require(root)

    @property
    def published_counts(self) -> Mapping[str, int]:
        """Clouds in those parts whose number is known from publications; no publisher gives a checksum."""
        return {}

    @property
    def cache_key(self) -> str:
        """What the clouds depend on besides their files."""
        return f"{self.title} {self.root}"

    @property
    @abstractmethod
    def labels(self) -> LabelMap:
        """Classes, and the column of :meth:`read`'s clouds that holds the raw labels."""

    @abstractmethod
    def files(self, part: str) -> list[Path]:
        """One path per cloud of a part, sorted; nothing is read.

        Raises:
            ValueError: no such part; names those that exist.
            FileNotFoundError: the part is not on disk; says how to get it.
        """

    @abstractmethod
    def read(self, path: Path) -> PointCloud:
        """The labelled cloud of one of :meth:`files`.

        Raises:
            ReadError: the file is damaged.
        """

    def prepare(
        self, path: Path, inputs: InputSettings, labels: LabelMap, variant: CloudVariant = _AS_IT_IS
    ) -> PreparedCloud:
        """Read a cloud, encode its labels and compute its features.

        Args:
            path: one of :meth:`files`.
            inputs: features.
            labels: classes.
            variant: what the cloud becomes before.

        Raises:
            ReadError: the file is damaged.
            ValueError: no label column, labels without a mapping, NaN coordinates, missing columns; names the file.
        """
        return prepared_cloud(self.read(path), str(path), inputs, labels, variant)

    def stratum(self, path: Path) -> str:
        """What a validation split takes its share of separately (an object's class); one for all by default."""
        return ""

    def group(self, path: Path) -> str:
        """What a validation split keeps together (the recording that a window is cut from); each alone by default."""
        return str(path)

    def incomplete_parts(self, parts: list[str]) -> list[str]:
        """A sentence for each part that has another number of clouds than was published."""
        published = self.published_counts
        found = {part: len(self.files(part)) for part in parts if part in published}
        return [
            f"{self.title}, {part}: {number} clouds in {self.root}, {published[part]} were published"
            for part, number in found.items()
            if number != published[part]
        ]

    def require(self, path: Path) -> Path:
        """The path itself if it is there."""
        if not path.exists():
            raise FileNotFoundError(f"{self.title}: {path} is not there. {self.how_to_get}")
        return path

    def one_of(self, part: str, known: list[str] | tuple[str, ...]) -> str:
        """The part itself if it is known."""
        if part not in known:
            raise ValueError(f"{self.title} has no part {part!r}; it has {', '.join(known)}")
        return part


def prepared_cloud(
    cloud: PointCloud, name: str, inputs: InputSettings, labels: LabelMap, variant: CloudVariant = _AS_IT_IS
) -> PreparedCloud:
    """A cloud as :meth:`DataSet.prepare` makes it of its file; ``name`` is that of the file in messages."""
    if variant != _AS_IT_IS:
        cloud.require_finite(name)
    try:
        cloud = variant.of(cloud)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return inputs.prepare(cloud, name, labels.of_cloud(cloud, name))

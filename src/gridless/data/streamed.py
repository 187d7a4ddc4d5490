"""Crops of data sets that are too large for memory: clouds are read when a crop needs them."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from gridless.cloud import PointCloud
from gridless.data.augmentation import AugmentationSettings
from gridless.data.cache import CloudCache
from gridless.data.crops import Crop, cut_crop, whole_crop
from gridless.data.datasets import Batch, SamplerSettings
from gridless.data.inputs import InputSettings, PreparedCloud
from gridless.data.labels import IGNORED, LabelMap
from gridless.data.published import DataSet, prepared_cloud
from gridless.data.variants import CloudVariant
from gridless.errors import ReadError
from gridless.pyramid import PyramidSettings

_POINTS_KEPT = 10_000_000  # about a gigabyte a process


class StreamedClouds:
    """Prepared clouds by index, read when first asked for; those used last stay in memory.

    Args:
        data_set: reads the files.
        files: of the data set, one a cloud.
        inputs: features to compute.
        labels: classes.
        cache: what was read; without one the published files are read each time.
        points_kept: points that stay in memory; the cloud asked for last always does.
        variants: what each cloud becomes; by default it stays as it is.
        skip_bad: let :meth:`first_readable` pass over files that cannot be read.
    """

    def __init__(
        self,
        data_set: DataSet,
        files: Sequence[Path],
        inputs: InputSettings,
        labels: LabelMap,
        cache: CloudCache | None = None,
        points_kept: int = _POINTS_KEPT,
        variants: Sequence[CloudVariant] | None = None,
        skip_bad: bool = False,
    ) -> None:
        self.data_set, self.files, self.inputs, self.labels = data_set, list(files), inputs, labels
        self.cache, self.points_kept, self.skip_bad = cache, points_kept, skip_bad
        self.variants = [CloudVariant()] * len(self.files) if variants is None else list(variants)
        self._kept: OrderedDict[int, PreparedCloud] = OrderedDict()
        self._bad: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PreparedCloud:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        file = self.files[index]
        prepared = prepared_cloud(self._read(file), str(file), self.inputs, self.labels, self.variants[index])
        self._kept[index] = prepared
        while len(self._kept) > 1 and sum(len(kept) for kept in self._kept.values()) > self.points_kept:
            self._kept.popitem(last=False)
        return prepared

    def first_readable(self, indices: Iterable[int]) -> int:
        """The first of these clouds, or with ``skip_bad`` the first that can be read; others are named in a warning.

        Raises:
            ReadError: it is damaged, not there, or without points.
            ValueError: no cloud can be read.
        """
        for index in indices:
            if self._is_readable(index):
                return index
        raise ValueError(f"none of the {len(self)} files can be read")

    def readable(self) -> StreamedClouds:
        """These clouds or, with ``skip_bad``, those that can be read: each is read, and named where it cannot be.

        Raises:
            ValueError: no cloud can be read.
        """
        if not self.skip_bad:
            return self
        first = self.first_readable(range(len(self)))
        kept = [index for index in range(first, len(self)) if self._is_readable(index)]
        files, variants = [self.files[index] for index in kept], [self.variants[index] for index in kept]
        return StreamedClouds(
            self.data_set, files, self.inputs, self.labels, self.cache, self.points_kept, variants, self.skip_bad
        )

    def _is_readable(self, index: int) -> bool:
        if index in self._bad:
            return False
        try:
            require_points(self[index], self.files[index])
        except (ReadError, OSError) as error:
            if not self.skip_bad:
                raise unless_skipped(self.files[index], error) from error
            self._bad.add(index)
            warnings.warn(f"left out, as it cannot be read: {error}", stacklevel=3)
            return False
        return True

    def _read(self, file: Path) -> PointCloud:
        if self.cache is None:
            return self.data_set.read(file)
        version = (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else ()
        key = f"{self.data_set.cache_key} {file} {version}"
        return self.cache.get(key, lambda: self.data_set.read(file))


def require_points(cloud: PreparedCloud, file: Path) -> None:
    """ReadError for a cloud that nothing can be learned from."""
    if not len(cloud):
        raise ReadError(file, "no points to learn from")


def unless_skipped(file: Path, error: ReadError | OSError) -> ReadError:
    """The error of a file that cannot be read, with what to do about it."""
    problem, where = (error.problem, error.where) if isinstance(error, ReadError) else (str(error), None)
    return ReadError(file, f"{problem}; --skip-bad leaves such files out", where)


class StreamedCrops(Dataset[Batch]):
    """Endless crops of streamed clouds; crop i is a pure function of (seed, i), so that training can resume anywhere.

    Every cloud is drawn once before any is drawn again, unless there are shares; ``sampler.crops_per_cloud`` crops in a
    row are of one cloud. In place of one that is skipped comes the next that can be read.
    For segmentation a crop is centered near a point of a class that is drawn by the sampler's weights among those that
    the cloud has. For classification it is the whole object, and its label is one class.

    Args:
        clouds: to draw from, at least one.
        class_names: of the labels.
        inputs: what the network sees.
        pyramid: the network's levels.
        sampler: how crops are chosen.
        augmentation: random changes; None for none, as in validation.
        seed: of all draws.
        length: what ``len`` says; any index works.
        shares: of the crops that are drawn from each cloud, about.

    Raises:
        ValueError: there is no cloud.
    """

    def __init__(
        self,
        clouds: StreamedClouds,
        class_names: Sequence[str],
        inputs: InputSettings,
        pyramid: PyramidSettings,
        sampler: SamplerSettings,
        augmentation: AugmentationSettings | None,
        seed: int,
        length: int,
        shares: Sequence[float] | None = None,
    ) -> None:
        if not len(clouds):
            raise ValueError("StreamedCrops: at least one cloud is needed")
        if augmentation is not None:
            augmentation.check_names([feature.name for feature in inputs.features])
        self.clouds, self.inputs, self.pyramid, self.sampler = clouds, inputs, pyramid, sampler
        self.augmentation, self.seed, self.length = augmentation, seed, length
        self._class_weights = np.array(sampler.weights(class_names))
        self._shares = None if shares is None else np.array(shares) / np.sum(shares)

    def __len__(self) -> int:
        return self.length

    def cloud_of(self, index: int) -> int:
        """The cloud that crop ``index`` is cut from."""
        drawn = index // self.sampler.crops_per_cloud
        pass_over_all, place = divmod(drawn, len(self.clouds))
        order = np.random.default_rng((self.seed, pass_over_all, 2)).permutation(len(self.clouds)).tolist()
        following = itertools.chain(order[place:], order[:place])
        if self._shares is None:
            return self.clouds.first_readable(following)
        by_share = np.random.default_rng((self.seed, drawn, 3)).choice(len(self.clouds), p=self._shares)
        return self.clouds.first_readable(itertools.chain([int(by_share)], following))

    def origin(self, index: int) -> dict[str, Any]:
        """The file that crop ``index`` is cut from and, where it is not a whole object, the place."""
        number = self.cloud_of(index)
        file = {"file": str(self.clouds.files[number])}
        if self._takes_whole_objects:
            return file
        return file | {"center": self._center(self.clouds[number], index).tolist()}

    def crop(self, index: int) -> Crop:
        """Crop ``index`` without its neighborhoods."""
        cloud = self.clouds[self.cloud_of(index)]
        changes = np.random.default_rng((self.seed, index, 1))
        if self._takes_whole_objects:
            return whole_crop(cloud, self.inputs, self.augmentation, changes, self.sampler.max_points)
        return cut_crop(
            cloud, self._center(cloud, index), self.inputs, self.augmentation, changes, self.sampler.max_points
        )

    def __getitem__(self, index: int) -> Batch:
        crop = self.crop(index)
        return Batch.of_crop(crop, self.pyramid, whole=self._takes_whole_objects)

    @property
    def _takes_whole_objects(self) -> bool:
        return self.clouds.data_set.task == "classification"

    def _center(self, cloud: PreparedCloud, index: int) -> np.ndarray:
        """The place that crop ``index`` is drawn around."""
        assert cloud.labels is not None
        rng = np.random.default_rng((self.seed, index))
        present = np.bincount(cloud.labels[cloud.labels != IGNORED], minlength=len(self._class_weights)) > 0
        weights = self._class_weights * present
        if weights.sum() > 0:
            drawn_class = rng.choice(len(weights), p=weights / weights.sum())
            row = rng.choice(np.flatnonzero(cloud.labels == drawn_class))
        else:
            row = rng.integers(len(cloud))
        jitter = rng.uniform(-self.sampler.center_jitter, self.sampler.center_jitter, cloud.horizontal.shape[1])
        center: np.ndarray = cloud.horizontal[row] + jitter
        return center

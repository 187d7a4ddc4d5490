"""Data sets of crops for torch's DataLoader: random balanced ones to train, covering ones to score and predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gridless.data.augmentation import AugmentationSettings, angles_of
from gridless.data.crops import Crop, covering_centers, cut_crop
from gridless.data.inputs import InputSettings, PreparedCloud
from gridless.data.labels import IGNORED
from gridless.data.packed import PackedTensors
from gridless.data.settings import unknown_name
from gridless.pyramid import Pyramid, PyramidSettings

_WIDEST_SPACING = 1.414  # crop radii: below √2, at which rounding leaves out corners of the grid


@dataclass(frozen=True, eq=False)
class Batch:
    """Network inputs of one or several crops.

    Args:
        features: [N0, C] float32.
        labels: [N0] int64 with -1 ignored (all -1 for clouds without labels); [B] where whole clouds have a class.
        pyramid: levels and neighborhoods of the N0 points.
    """

    features: Tensor
    labels: Tensor
    pyramid: Pyramid

    @staticmethod
    def of_crop(crop: Crop, settings: PyramidSettings, whole: bool = False) -> Batch:
        """Search the neighborhoods of one crop; ``whole`` takes the label of its first point as that of all."""
        labels = np.full(len(crop.positions), IGNORED) if crop.labels is None else crop.labels
        return Batch(
            torch.from_numpy(crop.features),
            torch.from_numpy(labels[:1] if whole else labels),
            Pyramid.build(torch.from_numpy(crop.positions), settings),
        )

    @staticmethod
    def concatenate(parts: Sequence[Batch]) -> Batch:
        """Several crops side by side; no neighborhood crosses them."""
        return Batch(
            torch.cat([part.features for part in parts]),
            torch.cat([part.labels for part in parts]),
            Pyramid.concatenate([part.pyramid for part in parts]),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return Batch(self.features.to(device), self.labels.to(device), self.pyramid.to(device))

    def __reduce__(self) -> tuple[Any, ...]:
        # On the way from a loader's worker.
        return _batch_of, (PackedTensors.of((self.features, self.labels, self.pyramid)),)


def _batch_of(packed: PackedTensors) -> Batch:
    return Batch(*packed.unpacked())


@dataclass(frozen=True)
class SamplerSettings:
    """How training crops are chosen.

    Args:
        class_weights: class name -> weight of the draw of the class around one of whose points a crop is centered;
            classes that are not named have weight 1, so that the default draws every class equally often.
        center_jitter: largest distance of the axis from that point, in each horizontal direction.
        max_points: cap on the network points of one crop.
        crops_per_cloud: crops in a row of one cloud, where clouds are read as they are needed.
    """

    class_weights: dict[str, float] = field(default_factory=dict)
    center_jitter: float = 2.0
    max_points: int = 16000
    crops_per_cloud: int = 1

    def __post_init__(self) -> None:
        for name in ("max_points", "crops_per_cloud"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.center_jitter >= 0:
            raise ValueError(f"center_jitter must not be negative, got {self.center_jitter}")

    def weights(self, class_names: Sequence[str]) -> list[float]:
        """Weight per class; ValueError for a name that is no class."""
        return weight_per_class(self.class_weights, class_names, "sampler.class_weights")


def weight_per_class(weights: Mapping[str, float], class_names: Sequence[str], place: str) -> list[float]:
    """The weight of each class, 1 where none is given; ValueError for a name that is no class or a negative weight.

    Example:
        >>> weight_per_class({"wire": 2.0}, ["ground", "wire"], "sampler.class_weights")
        [1.0, 2.0]
    """
    for name in weights:
        if name not in class_names:
            raise ValueError(f"{place}: no class {unknown_name(name, class_names)}")
        if not weights[name] >= 0:
            raise ValueError(f"{place}: the weight of {name!r} must not be negative, got {weights[name]}")
    return [weights.get(name, 1.0) for name in class_names]


class TrainingCrops(Dataset[Batch]):
    """Endless random crops; crop i is a pure function of (seed, i), so that training can resume anywhere.

    Args:
        clouds: prepared clouds with labels.
        class_names: of the labels.
        inputs: what the network sees.
        pyramid: the network's levels.
        sampler: how crops are chosen.
        augmentation: random changes.
        seed: of all draws.
        length: what ``len`` says (crops per epoch); any index works.
        shares: of the crops that are drawn from each cloud, about; by default each point of a class is as likely as
            any other to be the center of a crop.

    Raises:
        ValueError: the clouds have no labelled point.
    """

    def __init__(
        self,
        clouds: Sequence[PreparedCloud],
        class_names: Sequence[str],
        inputs: InputSettings,
        pyramid: PyramidSettings,
        sampler: SamplerSettings,
        augmentation: AugmentationSettings,
        seed: int,
        length: int,
        shares: Sequence[float] | None = None,
    ) -> None:
        augmentation.check_names([feature.name for feature in inputs.features])
        self.clouds, self.inputs, self.pyramid = list(clouds), inputs, pyramid
        self.sampler, self.augmentation, self.seed, self.length = sampler, augmentation, seed, length
        labels = np.concatenate([cloud.labels for cloud in self.clouds if cloud.labels is not None])
        self._cloud_starts = np.cumsum([0] + [len(cloud) for cloud in self.clouds])
        self._rows_of_class = [np.flatnonzero(labels == c) for c in range(len(class_names))]
        weights = np.array(sampler.weights(class_names))
        weights[self.absent_classes] = 0.0
        if not weights.sum() > 0:
            raise ValueError("training data: no labelled point of a class that is to be drawn")
        self._class_probabilities = weights / weights.sum()
        self._shares = None if shares is None else np.array(shares, dtype=np.float64)

    def __len__(self) -> int:
        return self.length

    @property
    def absent_classes(self) -> list[int]:
        """Classes that no point of the clouds has."""
        return [number for number, rows in enumerate(self._rows_of_class) if not len(rows)]

    def center(self, index: int) -> tuple[int, int, np.ndarray]:
        """Class, cloud and place that crop ``index`` is drawn around."""
        rng = np.random.default_rng((self.seed, index))
        drawn_class = int(rng.choice(len(self._class_probabilities), p=self._class_probabilities))
        rows = self._rows_of_class[drawn_class]
        if self._shares is not None:
            # Places of each cloud's rows among those of the class.
            bounds = np.searchsorted(rows, self._cloud_starts)
            shares = np.where(np.diff(bounds) > 0, self._shares, 0.0)
            drawn_cloud = int(rng.choice(len(shares), p=shares / shares.sum()))
            rows = rows[bounds[drawn_cloud] : bounds[drawn_cloud + 1]]
        row = int(rng.choice(rows))
        cloud = int(np.searchsorted(self._cloud_starts, row, side="right")) - 1
        place = self.clouds[cloud].horizontal[row - self._cloud_starts[cloud]]
        jitter = rng.uniform(-self.sampler.center_jitter, self.sampler.center_jitter, len(place))
        return drawn_class, cloud, place + jitter

    def origin(self, index: int) -> dict[str, Any]:
        """The file and the place that crop ``index`` is cut from."""
        _, cloud, place = self.center(index)
        return {"file": self.clouds[cloud].name, "center": place.tolist()}

    def crop(self, index: int) -> Crop:
        """Crop ``index`` without its neighborhoods."""
        _, cloud, place = self.center(index)
        rng = np.random.default_rng((self.seed, index, 1))
        return cut_crop(self.clouds[cloud], place, self.inputs, self.augmentation, rng, self.sampler.max_points)

    def __getitem__(self, index: int) -> Batch:
        return Batch.of_crop(self.crop(index), self.pyramid)


class CoveringCrops(Dataset[tuple[Crop, Batch]]):
    """Crops on a grid that together contain every point, always the same.

    Args:
        clouds: prepared clouds, with or without labels.
        inputs: what the network sees.
        pyramid: the network's levels.
        spacing: distance of neighboring crops, at most crop_radius · 1.414 so that no point is left out.
        labelled_only: cover only the points that have a class (their surroundings are still seen).
        low: horizontal place that the grid of crops is tied to; by default each cloud's lower bounds.
        votes: how often each crop is shown, turned by a further part of a full turn each time.

    Raises:
        ValueError: the spacing would leave points out, fewer votes than one, or votes on a single axis.
    """

    def __init__(
        self,
        clouds: Sequence[PreparedCloud],
        inputs: InputSettings,
        pyramid: PyramidSettings,
        spacing: float,
        labelled_only: bool = False,
        low: np.ndarray | None = None,
        votes: int = 1,
    ) -> None:
        if votes > 1 and any(cloud.positions.shape[1] < 2 for cloud in clouds):
            raise ValueError(f"{votes} votes need positions that can be turned, got a single axis")
        widest = _WIDEST_SPACING * inputs.crop_radius
        if not 0 < spacing <= widest:
            raise ValueError(
                f"CoveringCrops: spacing must be in (0, {_WIDEST_SPACING} * crop_radius = {widest:.4g}], got {spacing}"
            )
        self.clouds, self.inputs, self.pyramid = list(clouds), inputs, pyramid
        self.places: list[tuple[int, np.ndarray, float]] = []
        for index, cloud in enumerate(self.clouds):
            wanted = cloud.horizontal
            if labelled_only and cloud.labels is not None:
                wanted = wanted[cloud.labels != IGNORED]
            centers = covering_centers(wanted, spacing, low)
            self.places += [(index, center, angle) for center in centers for angle in angles_of(votes)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Crop, Batch]:
        cloud, center, angle = self.places[index]
        crop = cut_crop(self.clouds[cloud], center, self.inputs, angle=angle)
        return crop, Batch.of_crop(crop, self.pyramid)

"""PointSegmenter: ``fit`` and ``predict`` as in scikit-learn, for data that fits into memory and small trainings."""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gridless.cloud import PointCloud
from gridless.data import FeatureSettings, InputSettings, LabelMap, SamplerSettings
from gridless.io import write
from gridless.models import MODEL_FILE, load_model
from gridless.neighbors import knn
from gridless.prediction import class_probabilities, input_settings
from gridless.training import Recipe, TrainingFiles, fit
from gridless.training.recipe import DataSettings, NetworkSettings, ScheduleSettings

Points = PointCloud | ArrayLike
_LABEL = "label"
_POINTS_PER_CROP = 4000
_SAMPLED_POINTS = 2000


class PointSegmenter:
    """A class for every point: networks of continuous convolutions behind scikit-learn's ``fit`` and ``predict``.

    What the recipes of ``gridless train`` set by hand follows from the points here: the voxels are as wide as the usual
    distance of two neighbors, crops hold about 4,000 points, features are brought to mean 0 and variance 1. All points
    are learned from, none is held aside. After ``fit``, ``model_`` is a network for ``gridless.save_model``, and
    ``classes_`` [C] holds the labels in the order of the probabilities.

    Args:
        dim: D, how many columns of an array are positions; the others are features.
        features: columns of a PointCloud that the network sees, besides where the points are.
        voxel_size: points closer than this are merged, in the unit of the positions; None asks the points.
        crop_radius: how far around a point the network sees, None asks the points.
        network: a name in ``gridless.models.MODELS`` that labels points.
        config: of the network, for example ``{"channels": [16, 32, 64], "blocks": [1, 1, 1]}``.
        steps: of the training.
        learning_rate: its peak.
        random_state: seed of everything random.
        verbose: show a progress bar.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.random((200, 3)) * [10, 10, 4]
        >>> y = np.where(X[:, 2] > 2, "roof", "ground")
        >>> segmenter = PointSegmenter(config={"channels": [8, 16], "blocks": [1, 1]}, steps=5).fit(X, y)
        >>> segmenter.classes_.tolist(), segmenter.predict(X).shape, segmenter.predict_proba(X).shape
        (['ground', 'roof'], (200,), (200, 2))
    """

    def __init__(
        self,
        dim: int = 3,
        features: Sequence[str] = (),
        voxel_size: float | None = None,
        crop_radius: float | None = None,
        network: str = "pccn_unet",
        config: dict[str, Any] | None = None,
        steps: int = 400,
        learning_rate: float = 1e-2,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.dim, self.features = dim, features
        self.voxel_size, self.crop_radius = voxel_size, crop_radius
        self.network, self.config = network, config
        self.steps, self.learning_rate = steps, learning_rate
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Points | Sequence[Points], y: ArrayLike | Sequence[ArrayLike]) -> PointSegmenter:
        """Learn from one cloud or from a list of them.

        Args:
            X: a PointCloud, or an array [N, D + F] of positions and features; or a list of them.
            y: label of each point [N], numbers or text; or a list of these.

        Raises:
            ValueError: lengths that do not fit, NaN, an array of fewer than D columns, a missing column, or only one
                class.
        """
        clouds, labels = self._clouds(X), self._labels(X, y)
        if len(clouds) != len(labels):
            raise ValueError(f"PointSegmenter: {len(clouds)} clouds but {len(labels)} lists of labels")
        for place, (cloud, own) in enumerate(zip(clouds, labels, strict=True)):
            if own.shape != (len(cloud),):
                raise ValueError(f"PointSegmenter: cloud {place} has {len(cloud)} points, its labels shape {own.shape}")
            cloud.require_finite(f"cloud {place}")
        self.classes_ = np.unique(np.concatenate(labels))
        if len(self.classes_) < 2:
            raise ValueError(f"PointSegmenter: two classes at least, got {self.classes_.tolist()}")
        names = [str(name) for name in self.classes_]
        with tempfile.TemporaryDirectory() as folder:
            entries = []
            for place, (cloud, own) in enumerate(zip(clouds, labels, strict=True)):
                path = Path(folder) / f"{place}.npz"
                write(path, cloud.with_columns(**{_LABEL: np.searchsorted(self.classes_, own)}))
                entries.append(TrainingFiles(str(path)))
            inputs = self._inputs(clouds)
            recipe = Recipe(
                # A strip held aside, as large trainings do it, may lack most classes of a small cloud.
                data=DataSettings(entries, validation=[entry.files for entry in entries]),
                labels=LabelMap({name: [number] for number, name in enumerate(names)}, column=_LABEL),
                inputs=inputs,
                sampler=SamplerSettings(center_jitter=inputs.crop_radius / 5),
                network=NetworkSettings(
                    self.network, {"dim": self.dim, "spacing": inputs.voxel_size, **(self.config or {})}
                ),
                schedule=ScheduleSettings(
                    steps=self.steps,
                    steps_per_epoch=max(1, self.steps // 4),
                    learning_rate=self.learning_rate,
                    # Batch statistics of the average are computed anew; running ones lag in a short training.
                    average_decay=0.9,
                    workers=0,
                ),
                seed=self.random_state,
                output=f"{folder}/run",
            )
            run = fit(recipe, progress_bar=self.verbose)
            self.model_ = load_model(run.folder / MODEL_FILE)
        return self

    def predict(self, X: Points | Sequence[Points]) -> Any:
        """The label of each point [N]; of a list of clouds, a list.

        Raises:
            ValueError: it was not fitted, or the points are not like those it was fitted on.
        """
        scores = self.predict_proba(X)
        if isinstance(scores, list):
            return [self.classes_[part.argmax(axis=1)] for part in scores]
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Points | Sequence[Points]) -> Any:
        """The probability of each class [N, C], in the order of ``classes_``; of a list of clouds, a list."""
        if not hasattr(self, "model_"):
            raise ValueError("PointSegmenter: fit it first")
        inputs = input_settings(self.model_)
        scores = [
            class_probabilities(self.model_, inputs.prepare(cloud, f"cloud {place}"))
            if len(cloud)
            else np.zeros((0, len(self.classes_)), np.float32)
            for place, cloud in enumerate(self._clouds(X))
        ]
        return scores if _several(X) else scores[0]

    def score(self, X: Points | Sequence[Points], y: ArrayLike | Sequence[ArrayLike]) -> float:
        """Overall accuracy: the part of all points that get the label they have."""
        found = self.predict(X)
        return float(np.mean(np.concatenate(found if _several(X) else [found]) == np.concatenate(self._labels(X, y))))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> PointSegmenter:
        """Change arguments; ValueError for one that it does not have."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"PointSegmenter has no parameter {name!r}; it has {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _clouds(self, X: Points | Sequence[Points]) -> list[PointCloud]:
        several: Any = X if _several(X) else [X]
        return [self._cloud(points) for points in several]

    def _cloud(self, points: Points) -> PointCloud:
        if isinstance(points, PointCloud):
            return points
        values = np.asarray(points)
        if values.ndim != 2 or values.shape[1] < self.dim:
            raise ValueError(f"PointSegmenter: expected an array [N, {self.dim} + F], got shape {values.shape}")
        columns = {f"feature_{place}": values[:, place] for place in range(self.dim, values.shape[1])}
        return PointCloud(values[:, : self.dim], columns)

    def _labels(self, X: Points | Sequence[Points], y: ArrayLike | Sequence[ArrayLike]) -> list[NDArray[Any]]:
        several: Any = y if _several(X) else [y]
        return [np.asarray(own) for own in several]

    def _inputs(self, clouds: list[PointCloud]) -> InputSettings:
        """Features of the training clouds at mean 0 and variance 1; voxels and crops as wide as they need."""
        names = list(self.features) or [name for name in clouds[0].columns if name.startswith("feature_")]
        features = [FeatureSettings("constant")]
        if self.dim == 3:
            heights = np.concatenate([cloud.positions[:, -1] - cloud.center()[-1] for cloud in clouds])
            features.append(FeatureSettings("height", scale=float(heights.std()) or 1.0))
        for name in names:
            for place, cloud in enumerate(clouds):
                if name not in cloud:
                    raise ValueError(f"PointSegmenter: cloud {place} has no column {name!r}")
            values = np.concatenate([np.asarray(cloud[name], np.float64) for cloud in clouds])
            features.append(FeatureSettings(name, offset=float(values.mean()), scale=float(values.std()) or 1.0))
        voxel_size = self.voxel_size or float(np.median([_spacing(cloud) for cloud in clouds]))
        crop_radius = self.crop_radius or max(
            4 * voxel_size, float(np.median([_radius_of(cloud, _POINTS_PER_CROP) for cloud in clouds]))
        )
        return InputSettings(tuple(features), voxel_size, crop_radius)


def _several(X: Any) -> bool:
    """Whether these are several clouds: a list whose items are clouds or arrays, not numbers or rows of numbers."""
    return isinstance(X, (list, tuple)) and all(isinstance(part, (PointCloud, np.ndarray, torch.Tensor)) for part in X)


def _spacing(cloud: PointCloud) -> float:
    """The usual distance from a point to its nearest neighbor at another place."""
    points = torch.from_numpy(cloud.local_positions()).unique(dim=0)
    if len(points) < 2:
        return 1.0
    queries = points[:: -(-len(points) // _SAMPLED_POINTS)]
    nearest = points[knn(points, queries, 2).indices.view(-1, 2)[:, 1]]
    return float((queries - nearest).norm(dim=1).median())


def _radius_of(cloud: PointCloud, num_points: int) -> float:
    """Radius of a vertical cylinder that holds about so many points."""
    horizontal = cloud.positions[:, :-1] if cloud.dim > 1 else cloud.positions
    dim, extents = horizontal.shape[1], np.maximum(np.ptp(horizontal, axis=0), 1e-9)
    unit_ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    wanted = min(1.0, num_points / len(cloud)) * float(np.prod(extents))
    return (wanted / unit_ball) ** (1 / dim)

"""PointSegmenter: ``fit`` and ``predict`` as in scikit-learn, for data that fits into memory and small trainings."""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
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
_ROUNDING = 1e-12  # of the largest value: what sums and differences of equal numbers may be off in float64


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
        random_state: seed of everything random; None draws one from NumPy's global generator.
        verbose: show a progress bar.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.random((200, 3)) * [10, 10, 4]
        >>> y = np.where(X[:, 2] > 2, "roof", "ground")
        >>> segmenter = PointSegmenter(config={"channels": [8, 16], "blocks": [1, 1]}, steps=5).fit(X, y)
        >>> segmenter.classes_.tolist(), segmenter.predict(X).shape, segmenter.predict_proba(X).shape
        (['ground', 'roof'], (200,), (200, 2))
    """

    _estimator_type = "classifier"  # how scikit-learn before 1.6 asks

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
        random_state: int | None = 0,
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
            ValueError: lengths that do not fit, a cloud without points, NaN, an array of fewer than D columns, a column
                that is missing, a size that is not positive, or only one class.
        """
        clouds = self._clouds(X)
        labels = self._labels(clouds, X, y)
        for place, (cloud, own) in enumerate(zip(clouds, labels, strict=True)):
            if len(cloud) == 0:
                raise ValueError(f"PointSegmenter: cloud {place} has no points")
            cloud.require_finite(f"cloud {place}")
            missing = int(np.sum(own != own))  # NaN, among numbers or among objects, differs from itself
            if missing:
                raise ValueError(f"PointSegmenter: {missing} of {len(own)} labels of cloud {place} are NaN")
        inputs = self._inputs(clouds)
        self.classes_ = np.unique(np.concatenate(labels))
        if len(self.classes_) < 2:
            raise ValueError(f"PointSegmenter: two classes at least, got {self.classes_.tolist()}")
        names = [str(name) for name in self.classes_]
        with tempfile.TemporaryDirectory() as folder:
            entries = []
            for place, (cloud, own) in enumerate(zip(clouds, labels, strict=True)):
                path = Path(folder) / f"{place}.npz"
                cloud = cloud.without_columns(*set(cloud.columns).difference(inputs.columns))
                write(path, cloud.with_columns(**{_LABEL: np.searchsorted(self.classes_, own)}))
                entries.append(TrainingFiles(str(path)))
            recipe = Recipe(
                # A strip held aside, as large trainings do it, may lack most classes of a small cloud.
                data=DataSettings(entries, validation=[entry.files for entry in entries]),
                labels=LabelMap.numbered(names, _LABEL),
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
                seed=np.random.randint(2**31) if self.random_state is None else self.random_state,  # noqa: NPY002
                output=f"{folder}/run",
            )
            with _global_generators_kept():
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
        clouds = self._clouds(X)
        labels = self._labels(clouds, X, y)
        return float(np.mean(np.concatenate(self.predict(clouds)) == np.concatenate(labels)))

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

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks before it works with an estimator; imported here, since no other part needs it."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())

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

    def _labels(
        self, clouds: list[PointCloud], X: Points | Sequence[Points], y: ArrayLike | Sequence[ArrayLike]
    ) -> list[NDArray[Any]]:
        several: Any = y if _several(X) else [y]
        labels = [np.asarray(own) for own in several]
        if len(clouds) != len(labels):
            raise ValueError(f"PointSegmenter: {len(clouds)} clouds but {len(labels)} lists of labels")
        for place, (cloud, own) in enumerate(zip(clouds, labels, strict=True)):
            if own.shape != (len(cloud),):
                raise ValueError(f"PointSegmenter: cloud {place} has {len(cloud)} points, its labels shape {own.shape}")
        return labels

    def _inputs(self, clouds: list[PointCloud]) -> InputSettings:
        """Features of the training clouds at mean 0 and variance 1; voxels and crops as wide as they need."""
        names = list(self.features) or [name for name in clouds[0].columns if name.startswith("feature_")]
        features = [FeatureSettings("constant")]
        if self.dim == 3:
            heights = np.concatenate([cloud.positions[:, -1] - cloud.center()[-1] for cloud in clouds])
            largest = max(np.abs(cloud.positions[:, -1]).max() for cloud in clouds)
            features.append(FeatureSettings("height", scale=_scale(heights, largest)))
        for name in names:
            parts = []
            for place, cloud in enumerate(clouds):
                if name not in cloud:
                    raise ValueError(f"PointSegmenter: cloud {place} has no column {name!r}")
                parts.append(np.asarray(cloud[name], np.float64))
                bad = np.argwhere(~np.isfinite(parts[-1]))
                if len(bad):
                    raise ValueError(
                        f"PointSegmenter: feature {name!r} of cloud {place} is NaN or infinite for {len(bad)} values "
                        f"(first: row {bad[0, 0]})"
                    )
            values = np.concatenate(parts)
            scale = _scale(values, np.abs(values).max())
            features.append(FeatureSettings(name, offset=float(values.mean()), scale=scale))
        voxel_size, crop_radius = self.voxel_size, self.crop_radius
        if voxel_size is None:
            voxel_size = float(np.median([_spacing(cloud) for cloud in clouds]))
        if crop_radius is None:
            wanted = float(np.median([_radius_of(cloud, _POINTS_PER_CROP) for cloud in clouds]))
            crop_radius = max(4 * voxel_size, wanted)
        return InputSettings(tuple(features), voxel_size, crop_radius)


def _several(X: Any) -> bool:
    """Whether these are several clouds: a list whose items are clouds or arrays, not numbers or rows of numbers."""
    return isinstance(X, (list, tuple)) and all(isinstance(part, (PointCloud, np.ndarray, torch.Tensor)) for part in X)


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    """A training seeds the generators of the whole process; the caller's then go on as if there had been none."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def _scale(values: NDArray[np.float64], largest: float) -> float:
    """The standard deviation; 1 if it is only rounding noise of equal numbers up to ``largest``."""
    deviation = float(values.std())
    return deviation if deviation > _ROUNDING * largest else 1.0


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
    dim, extents = cloud.horizontal.shape[1], np.maximum(np.ptp(cloud.horizontal, axis=0), 1e-9)
    unit_ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    wanted = min(1.0, num_points / len(cloud)) * float(np.prod(extents))
    return (wanted / unit_ball) ** (1 / dim)

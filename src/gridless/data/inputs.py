"""InputSettings: the one description of how a cloud becomes network inputs, stored inside every model file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gridless.cloud import PointCloud, horizontal
from gridless.data.features import COMPUTED_FEATURES
from gridless.data.settings import unknown_name
from gridless.data.shapes import neighbors_announced
from gridless.data.whole import WholeCloud
from gridless.errors import GridlessError, ReadError


@dataclass(frozen=True)
class FeatureSettings:
    """One feature: a column of the cloud or a computed one, and how its values are brought to about -1 ... 1.

    value = (clip(transform(raw)) - offset) / scale

    Args:
        name: a column of the cloud, or a name in ``COMPUTED_FEATURES`` (which wins).
        transform: "log" takes log(1 + raw); "robust" maps the cloud's own 2nd and 98th percentiles to -1 and 1, for
            values without a common scale, such as intensities of different scanners.
        offset: subtracted after the transform.
        scale: divides afterwards.
        limits: smallest and largest value after the transform and before offset and scale.
        options: numbers that the computed feature takes (``{window: 5}``).
        optional: a cloud may lack its columns; its value is then 0 (after offset and scale) for all points. For columns
            of one value a point.

    Raises:
        ValueError: a scale of zero, limits in the wrong order, or options that the feature does not take.
    """

    name: str
    transform: Literal["none", "log", "robust"] = "none"
    offset: float = 0.0
    scale: float = 1.0
    limits: tuple[float, float] | None = None
    options: dict[str, float] = field(default_factory=dict)
    optional: bool = False
    shorthand: ClassVar[str] = "name"

    def __post_init__(self) -> None:
        if self.scale == 0:
            raise ValueError(f"feature {self.name!r}: scale must not be 0")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError(f"feature {self.name!r}: limits must be a smaller and a larger value, got {self.limits}")
        known = COMPUTED_FEATURES[self.name].options if self.name in COMPUTED_FEATURES else ()
        for option, value in self.options.items():
            if option not in known:
                raise ValueError(f"feature {self.name!r}: unknown option {unknown_name(option, known)}")
            if not 0 < value < math.inf:
                raise ValueError(f"feature {self.name!r}: {option} must be positive and finite, got {value}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the cloud that it reads."""
        return COMPUTED_FEATURES[self.name].columns if self.name in COMPUTED_FEATURES else (self.name,)

    @property
    def neighbors(self) -> int | None:
        """How many nearest points it looks at, if it is a computed one that is told so."""
        return COMPUTED_FEATURES[self.name].neighbors(self.options) if self.name in COMPUTED_FEATURES else None

    def reach(self, crop_radius: float) -> float:
        """How far from a point it looks; infinite if it cannot be computed on a part of the cloud."""
        if self.name not in COMPUTED_FEATURES:
            return 0.0
        distance = COMPUTED_FEATURES[self.name].distance(self.options, crop_radius)
        # A cloud's own percentiles are found block by block, where a point's surroundings are missing.
        return np.inf if self.transform == "robust" and distance > 0 else distance

    def compute(self, cloud: PointCloud, context: str, whole: WholeCloud | None = None) -> NDArray[np.float32]:
        """Values [N, C] (C is 1 but for columns such as rgb) for every point of a cloud that is a part of ``whole``."""
        if self.optional and any(name not in cloud for name in self.columns):
            return np.zeros((len(cloud), 1), np.float32)
        whole = WholeCloud.of(cloud) if whole is None else whole
        values = self._raw(cloud, context, whole)
        if self.transform == "log":
            values = np.log1p(np.maximum(values, 0.0))
        elif self.transform == "robust" and len(values):
            key = ("percentiles", self.name, *sorted(self.options.items()))
            if key not in whole.surfaces:
                whole.surfaces[key] = whole.quantiles(lambda block: self._raw(block, context, whole), (0.02, 0.98))
            low, high = whole.surfaces[key]
            values = (2 * values - low - high) / np.maximum(high - low, 1e-9)
        if self.limits is not None:
            values = values.clip(*self.limits)
        return ((values - self.offset) / self.scale).astype(np.float32)

    def _raw(self, cloud: PointCloud, context: str, whole: WholeCloud) -> NDArray[np.float64]:
        if self.name in COMPUTED_FEATURES:
            try:
                raw = COMPUTED_FEATURES[self.name](cloud, whole, **self.options)
            except GridlessError:
                raise
            except ValueError as error:
                raise ValueError(f"{context}: {error}") from error
        elif self.name in cloud:
            raw = cloud[self.name]
        else:
            raise ValueError(
                f"{context}: no column {self.name!r}; this cloud has {', '.join(cloud.columns) or 'no columns'} "
                f"and computed features are {', '.join(COMPUTED_FEATURES)}"
            )
        values = np.asarray(raw, dtype=np.float64)
        values = values.reshape(len(cloud), math.prod(values.shape[1:]))
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise ReadError(
                context,
                f"feature {self.name!r} is NaN or infinite for {int(bad.sum())} of {len(cloud)} points "
                f"(first: row {int(np.flatnonzero(bad)[0])})",
            )
        return values


@dataclass(frozen=True)
class InputSettings:
    """From a cloud to the points and features that a network sees; training, evaluation and prediction share it.

    Args:
        features: what the network sees of each point, besides where it is.
        voxel_size: points are merged per voxel of this side (mean position, mean features, most frequent label).
        crop_radius: a network sees cylinders of this radius around a vertical axis.

    Raises:
        ValueError: no feature, or a size that is not positive.

    Example:
        >>> settings = InputSettings((FeatureSettings("height", scale=10.0),), voxel_size=0.5, crop_radius=12.0)
        >>> prepared = settings.prepare(PointCloud([[0.0, 0, 0], [0, 0, 10]]), "example")
        >>> prepared.features.tolist()
        [[-0.5], [0.5]]
    """

    features: tuple[FeatureSettings, ...]
    voxel_size: float
    crop_radius: float

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("features must name at least one feature; 'constant' if geometry alone shall count")
        for name in ("voxel_size", "crop_radius"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a cloud that its features read, each once."""
        return tuple(dict.fromkeys(name for feature in self.features for name in feature.columns))

    def feature_reach(self) -> float:
        """How far from a point its features look.

        Raises:
            ValueError: one of them has to see the whole cloud at once.
        """
        reach = {feature.name: feature.reach(self.crop_radius) for feature in self.features}
        unbounded = [name for name, distance in reach.items() if np.isinf(distance)]
        if unbounded:
            raise ValueError(
                f"feature {unbounded[0]!r} needs the whole cloud in memory (a computed feature registered without its "
                "reach, or the robust transform of one that looks at neighbors); allow more memory"
            )
        return max(reach.values())

    def prepare(
        self,
        cloud: PointCloud,
        context: str,
        labels: NDArray[np.int64] | None = None,
        whole: WholeCloud | None = None,
    ) -> PreparedCloud:
        """Compute every feature, once.

        Args:
            cloud: N points.
            context: what to call the cloud in messages (its file).
            labels: class per point [N], -1 ignored.
            whole: what the cloud is a part of; None if it is all.

        Raises:
            ValueError: NaN coordinates, or a column that a feature needs is missing; the message names it.
        """
        cloud.require_finite(context)
        whole = WholeCloud.of(cloud) if whole is None else whole
        with neighbors_announced(k for feature in self.features if (k := feature.neighbors) is not None):
            columns = [feature.compute(cloud, context, whole) for feature in self.features]
        names = [f.name for f, values in zip(self.features, columns, strict=True) for _ in range(values.shape[1])]
        return PreparedCloud(cloud.positions, np.concatenate(columns, axis=1), labels, tuple(names), context)


@dataclass(frozen=True, eq=False)
class PreparedCloud:
    """A cloud with its features, ready to be cropped.

    Args:
        positions: [N, D] float64.
        features: [N, C] float32.
        labels: [N] int64 classes with -1 ignored, or None.
        channels: [C], the feature that each channel belongs to.
        name: for messages.
    """

    positions: NDArray[np.float64]
    features: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    channels: tuple[str, ...]
    name: str
    tree: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", cKDTree(self.horizontal))

    @property
    def horizontal(self) -> NDArray[np.float64]:
        """Crops are cylinders in these coordinates, [N, max(1, D - 1)]."""
        return horizontal(self.positions)

    def __len__(self) -> int:
        return len(self.positions)

    def restricted(self, keep: NDArray[np.bool_]) -> PreparedCloud:
        """Only the points where ``keep`` is true; features stay as computed on the whole cloud."""
        labels = None if self.labels is None else self.labels[keep]
        return PreparedCloud(self.positions[keep], self.features[keep], labels, self.channels, self.name)

    def with_labels(self, labels: NDArray[np.int64] | None) -> PreparedCloud:
        """The same points with other labels."""
        return PreparedCloud(self.positions, self.features, labels, self.channels, self.name)

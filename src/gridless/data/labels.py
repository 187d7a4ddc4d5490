"""LabelMap: raw labels of files <-> the classes 0..C-1 that a network learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridless.cloud import PointCloud

IGNORED = -1


@dataclass(frozen=True)
class LabelMap:
    """Which raw labels make which class, and which are left out of training and scores.

    Args:
        classes: class name -> raw labels; the order gives the class numbers, prediction writes the first raw label.
        ignored: raw labels that are neither trained on nor scored.
        column: column of the cloud that holds the raw labels.

    Raises:
        ValueError: no class, a class without labels, or one raw label in two places.

    Example:
        >>> labels = LabelMap({"ground": [2], "vegetation": [3, 4, 5]}, ignored=[1])
        >>> labels.encode([2, 5, 1]).tolist(), labels.decode([0, 1]).tolist()
        ([0, 1, -1], [2, 3])
    """

    classes: dict[str, list[int]]
    ignored: list[int] | None = None
    column: str = "classification"

    @classmethod
    def numbered(cls, names: Iterable[str], column: str = "label") -> LabelMap:
        """Classes whose raw labels are their numbers, from 0 on."""
        return cls({name: [number] for number, name in enumerate(names)}, column=column)

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("LabelMap: classes must name at least one class")
        seen: dict[int, str] = {}
        for name, raw_labels in [*self.classes.items(), ("(ignored)", self.ignored or [])]:
            if not raw_labels and name in self.classes:
                raise ValueError(f"LabelMap: class {name!r} has no raw labels")
            for raw in raw_labels:
                if raw in seen:
                    raise ValueError(f"LabelMap: raw label {raw} belongs both to {seen[raw]!r} and to {name!r}")
                seen[raw] = name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes 0..C-1."""
        return tuple(self.classes)

    def encode(self, raw_labels: ArrayLike, context: str = "LabelMap.encode") -> NDArray[np.int64]:
        """Class of each raw label [N], -1 where it is ignored.

        Raises:
            ValueError: raw labels that are neither in a class nor ignored; the message gives each with its count.
        """
        raw = np.asarray(raw_labels)
        if raw.dtype.kind == "f" and (bad := ~np.isfinite(raw)).any():
            raise ValueError(f"{context}: {bad.sum()} labels are NaN or infinite (first: row {np.argmax(bad)})")
        if not np.issubdtype(raw.dtype, np.integer):
            whole = raw.astype(np.int64)
            if raw.dtype.kind != "f" or not np.array_equal(whole, raw):
                raise ValueError(f"{context}: labels must be whole numbers, got {raw.dtype}")
            raw = whole
        values, inverse, counts = np.unique(raw, return_inverse=True, return_counts=True)
        class_of = {label: index for index, group in enumerate(self.classes.values()) for label in group}
        class_of.update((label, IGNORED) for label in self.ignored or [])
        strangers = [f"{v} ({c} points)" for v, c in zip(values, counts, strict=True) if int(v) not in class_of]
        if strangers:
            known = ", ".join(f"{name} {group}" for name, group in self.classes.items())
            raise ValueError(
                f"{context}: labels without a mapping: {', '.join(strangers)}; "
                f"put each in a class ({known}) or in ignored {self.ignored or []}; evaluate takes --ignore"
            )
        return np.array([class_of[int(value)] for value in values], dtype=np.int64)[inverse.reshape(-1)]

    def decode(self, classes: ArrayLike) -> NDArray[np.int64]:
        """The first raw label of each class [N]."""
        return np.array([group[0] for group in self.classes.values()], dtype=np.int64)[np.asarray(classes)]

    def of_cloud(self, cloud: PointCloud, context: str) -> NDArray[np.int64]:
        """Classes of a cloud's points [N]; ValueError naming the columns present if the label column is missing."""
        if self.column not in cloud:
            raise ValueError(
                f"{context}: no label column {self.column!r}; this cloud has {', '.join(cloud.columns) or 'no columns'}"
            )
        return self.encode(cloud[self.column], context)

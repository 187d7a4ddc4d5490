"""Ways of coloring a cloud: by classes that can be hidden, by value, or by the colors it has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.viewer import palette

_MOST_CLASSES = 30


@dataclass(frozen=True, eq=False)
class Coloring:
    """Colors of all points.

    Args:
        colors: [N, 3] uint8.
        classes: (name, CSS color, number of points) of each class; empty for values.
        group: [N] class of each point, as its place in ``classes``; None for values.
        scale: smallest and largest value of the color scale; None for classes.
    """

    colors: NDArray[np.uint8]
    classes: tuple[tuple[str, str, int], ...] = ()
    group: NDArray[np.uint8] | None = None
    scale: tuple[float, float] | None = None


def ways_of_coloring(cloud: PointCloud) -> list[str]:
    """Names of the columns that can be shown as color, and ``height``, the likely most useful first.

    Example:
        >>> ways_of_coloring(PointCloud(np.zeros((2, 3)), {"label": np.array([0, 1]), "name": np.array(["a", "b"])}))
        ['label', 'height']
    """
    columns = [
        name
        for name, values in cloud.columns.items()
        if values.dtype.kind in "biuf" and (values.ndim == 1 or values.shape[1:] == (3,))
    ]
    likely = [name for name in ("classification", "label", "rgb") if name in columns]
    return [*likely, "height", *(name for name in columns if name not in likely)] if likely else ["height", *columns]


def color_by(cloud: PointCloud, name: str, class_names: Mapping[int, str] | None = None) -> Coloring:
    """Colors from a column: classes where it has at most 30 distinct whole numbers, else a scale from blue to yellow.

    Args:
        cloud: N points.
        name: one of :func:`ways_of_coloring`.
        class_names: of the column's values.

    Raises:
        ValueError: no such way; names those that there are.

    Example:
        >>> color_by(PointCloud(np.zeros((2, 3)), {"label": np.array([3, 5])}), "label", {5: "tree"}).classes
        (('3', '#0072b2', 1), ('5 tree', '#1b7837', 1))
    """
    if name not in ways_of_coloring(cloud):
        raise ValueError(f"cannot color by {name!r}; this cloud has {', '.join(ways_of_coloring(cloud))}")
    values = cloud[name] if name in cloud else cloud.positions[:, -1]
    if values.ndim == 2:
        return Coloring(_as_bytes(values))
    if values.dtype.kind in "biu":
        distinct = np.unique(values)
        if len(distinct) <= _MOST_CLASSES:
            given = class_names or {}
            texts = [f"{value} {given.get(int(value), '')}".strip() for value in distinct.tolist()]
            return by_group(np.searchsorted(distinct, values), texts, palette.class_colors(texts))
    return _by_value(values.astype(np.float64))


def right_or_wrong(
    truth: NDArray[np.generic], prediction: NDArray[np.generic], scored: NDArray[np.bool_] | None = None
) -> Coloring:
    """Where two columns agree, and where that does not count.

    Example:
        >>> right_or_wrong(np.array([1, 2]), np.array([1, 3])).classes
        (('right', '#56a0d3', 1), ('wrong', '#d55e00', 1))
    """
    group = (truth != prediction).astype(np.int64)
    names, colors = ["right", "wrong"], [palette.RIGHT, palette.WRONG]
    if scored is not None and not scored.all():
        group[~scored] = 2
        names, colors = [*names, "not scored"], [*colors, palette.UNLABELED]
    return by_group(group, names, colors)


def by_group(group: NDArray[np.int64], names: list[str], colors: list[str]) -> Coloring:
    """One color for each class; ``group`` [N] is the place of each point's class in ``names``."""
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], np.uint8).reshape(-1, 3)
    counts = np.bincount(group, minlength=len(names)).tolist()
    return Coloring(rgb[group], tuple(zip(names, colors, counts, strict=True)), group.astype(np.uint8))


def value_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of a color scale: the middle 98 %, since single stray returns would leave everything else in one color.

    Example:
        >>> value_scale(np.array([2.0, 2.0, np.nan]))
        (2.0, 2.0)
    """
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99]).tolist() if len(finite) else (0.0, 1.0)
    return low, high


def scale_text(low: float, high: float) -> str:
    """The ends of a scale, with as many digits as tell them apart.

    Example:
        >>> scale_text(0.012345, 0.98765), scale_text(306234560.0, 306235296.0)
        ('0.01235 to 0.9877', '306234560 to 306235296')
    """
    times = max(abs(low), abs(high)) / ((high - low) or 1.0)
    digits = min(17, 4 + int(math.log10(max(1.0, times))))
    return f"{low:.{digits}g} to {high:.{digits}g}"


def _by_value(values: NDArray[np.float64]) -> Coloring:
    from matplotlib import colormaps

    low, high = value_scale(values)
    table = (np.asarray(colormaps["viridis"](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)
    share = (np.clip(values, low, high) - low) / ((high - low) or 1.0)
    colors = table[(np.nan_to_num(share) * 255).astype(np.uint8)]
    colors[~np.isfinite(values)] = [int(palette.UNLABELED[i : i + 2], 16) for i in (1, 3, 5)]
    return Coloring(colors, scale=(low, high))


def _as_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Colors of 8 or 16 bits, or between 0 and 1, as 8 bits."""
    if values.dtype.kind == "f":
        return np.asarray(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    whole = values.astype(np.int64)
    return np.clip(whole >> 8 if whole.max(initial=0) > 255 else whole, 0, 255).astype(np.uint8)

"""One self-contained HTML page about a trained model: numbers, curves and the cloud to turn."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridless.cloud import PointCloud
from gridless.metrics.segmentation import SegmentationScores
from gridless.viewer import palette
from gridless.viewer.coloring import value_scale
from gridless.viewer.figures import as_plotly_text, confusion_matrix_heatmap, curves_figure
from gridless.viewer.page import write_page
from gridless.viewer.table import percent, score_rows


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    scores: SegmentationScores,
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    cloud: PointCloud,
    truth: ArrayLike,
    prediction: ArrayLike,
    class_names: Sequence[str],
    class_colors: Mapping[str, str] | None = None,
    facts: Mapping[str, str],
    max_points: int = 150_000,
    seed: int = 0,
) -> None:
    """Write a report that opens in any browser without a network: everything it needs is inside the one file.

    Args:
        path: the HTML file to write.
        title: heading of the page.
        scores: the scores of the whole test, shown as numbers, table and confusion matrix.
        curves: name -> (steps, values); may be empty.
        cloud: N points in 2 or 3 dimensions to show; a column ``intensity`` [N] can be shown as color.
        truth: true classes [N]; values outside 0 .. C - 1 are shown as not labeled.
        prediction: predicted classes [N].
        class_names: C names in the order of the class numbers.
        class_colors: name -> ``#rrggbb`` overriding the default color.
        facts: label -> text shown in the header (training time, command, versions, ...).
        max_points: a larger cloud is sampled uniformly to this many points (the page says so).
        seed: of that sampling.

    Raises:
        ValueError: lengths differ, the cloud is not 2-D or 3-D or not finite, or a color is not ``#rrggbb``.
        FileNotFoundError: the folder of ``path`` does not exist.

    Example:
        >>> import tempfile
        >>> names, labels = ["ground", "tree"], np.array([0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = os.path.join(folder, "report.html")
        ...     write_report(page, title="Two points", scores=SegmentationScores.from_labels(labels, labels, names),
        ...                  curves={}, cloud=PointCloud(np.eye(3)[:2]), truth=labels, prediction=labels,
        ...                  class_names=names, facts={"training time": "1 s"})
        ...     os.path.getsize(page) < 12e6
        True
    """
    true, predicted = _labels(truth, cloud, "truth"), _labels(prediction, cloud, "prediction")
    if cloud.dim not in (2, 3):
        raise ValueError(f"write_report: cloud must have 2 or 3 dimensions, got {cloud.dim}")
    if max_points < 1:
        raise ValueError(f"write_report: max_points must be at least 1, got {max_points}")
    cloud.require_finite("write_report: cloud")
    shown = _sample(len(cloud), max_points, seed)
    figures = {"confusion": confusion_matrix_heatmap(scores)}
    if curves:
        figures["curves"] = curves_figure(curves)
    write_page(
        path,
        "report.html.jinja",
        figures,
        title=title,
        key_numbers=_key_numbers(scores),
        facts=facts,
        score_rows=score_rows(scores),
        cloud_data=_cloud_data(cloud[shown], true[shown], predicted[shown], class_names, class_colors),
        num_points=len(cloud),
        num_shown=len(shown),
    )


def _labels(labels: ArrayLike, cloud: PointCloud, name: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.shape != (len(cloud),):
        raise ValueError(f"write_report: {name} must be [{len(cloud)}] like cloud, got shape {array.shape}")
    return array.astype(np.int64)


def _sample(num_points: int, max_points: int, seed: int) -> NDArray[np.int64]:
    if num_points <= max_points:
        return np.arange(num_points)
    return np.sort(np.random.default_rng(seed).choice(num_points, max_points, replace=False))


def _key_numbers(scores: SegmentationScores) -> list[tuple[str, str]]:
    return [
        ("mean IoU", percent(scores.mean_iou) + " %"),
        ("overall accuracy", percent(scores.overall_accuracy) + " %"),
        ("points scored", f"{int(scores.support.sum()):,}"),
        ("classes", str(len(scores.class_names))),
    ]


def _cloud_data(
    cloud: PointCloud,
    truth: NDArray[np.int64],
    prediction: NDArray[np.int64],
    class_names: Sequence[str],
    given_colors: Mapping[str, str] | None,
) -> dict[str, Any]:
    """What the page's script needs to draw: positions once, and per way of coloring one array over the points."""
    num_classes = len(class_names)
    classes = [
        {"name": as_plotly_text(name), "color": color}
        for name, color in zip(class_names, palette.class_colors(class_names, given_colors), strict=True)
    ]
    unlabeled = {"name": "not labeled", "color": palette.UNLABELED}
    right_or_wrong = [{"name": "right", "color": palette.RIGHT}, {"name": "wrong", "color": palette.WRONG}, unlabeled]
    known = (truth >= 0) & (truth < num_classes)
    error = np.where(known, truth != prediction, 2)
    local = cloud.local_positions()
    height = local[:, 2] if cloud.dim == 3 else np.zeros(len(cloud), np.float32)
    modes: list[dict[str, Any]] = [
        _by_group("truth", "truth", truth, [*classes, unlabeled]),
        _by_group("prediction", "prediction", prediction, [*classes, unlabeled]),
        _by_group("error", "right / wrong", error, right_or_wrong),
    ]
    if cloud.dim == 3:
        modes.append(_by_value("height", cloud.positions[:, 2]))
    if "intensity" in cloud and cloud["intensity"].ndim == 1:
        modes.append(_by_value("intensity", cloud["intensity"]))
    axes = (local[:, 0], local[:, 1], height)
    return {"positions": [_base64(axis, "<f4") for axis in axes], "modes": modes}


def _by_group(key: str, label: str, group: NDArray[np.int64], groups: list[dict[str, str]]) -> dict[str, Any]:
    last = len(groups) - 1
    inside = np.where((group >= 0) & (group < last + 1), group, last)
    return {"key": key, "label": label, "groups": groups, "group": _base64(inside, "<u2")}


def _by_value(key: str, values: NDArray[Any]) -> dict[str, Any]:
    """Values as their share of the color scale: float32 has too few digits for a time or a large height itself."""
    wide = values.astype(np.float64)
    low, high = value_scale(wide)
    with np.errstate(over="ignore"):  # a stray value may be as far off as infinity
        share = _base64((wide - low) / ((high - low) or 1.0), "<f4")
    return {"key": key, "label": key, "share": share, "low": low, "high": high}


def _base64(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")

"""The classical way to label airborne LiDAR: hand-made features at many scales, and trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from gridless import PointCloud
from gridless.data import IGNORED, LabelMap
from gridless.io import read
from gridless.neighbors import knn

_NEIGHBORS = (8, 16, 32, 64, 100)
_WINDOWS = (1.0, 2.0, 5.0, 10.0, 20.0)
_OPENINGS = (5.0, 10.0, 20.0, 40.0)
_ROWS_AT_ONCE = 20_000
_TRAINING_POINTS = 200_000


def trees(kind: str, seed: int) -> Any:
    """Gradient-boosted trees ("boosted") or a random forest ("forest") of scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if kind == "boosted":
        return HistGradientBoostingClassifier(max_iter=200, random_state=seed)
    return RandomForestClassifier(100, min_samples_leaf=2, n_jobs=-1, random_state=seed)


Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def labelled_features(files: Sequence[Path], labels: LabelMap, reach: float) -> list[Rows]:
    """118 features [N, 118] and classes [N] of the labelled points of each file.

    Args:
        files: LAS or LAZ.
        labels: classes.
        reach: factor on the widths of the windows and openings: 1 where points are dense, 4 at a fourth a square metre.
    """
    return [_labelled(path, labels, reach)[0] for path in files]


def labelled_strips(
    files: Sequence[Path], labels: LabelMap, reach: float, width: float
) -> tuple[list[Rows], list[Rows]]:
    """The same of every other strip of ``width`` along the first axis of each file, and of the strips between them."""
    halves: tuple[list[Rows], list[Rows]] = ([], [])
    for path in files:
        (features, classes), positions = _labelled(path, labels, reach)
        strips = ((positions[:, 0] - positions[:, 0].min()) // width).astype(np.int64) % 2
        for half, rows in enumerate(halves):
            rows.append((features[strips == half], classes[strips == half]))
    return halves


def _labelled(path: Path, labels: LabelMap, reach: float) -> tuple[Rows, NDArray[np.float64]]:
    """Rows and positions of the labelled points of a file."""
    cloud = read(path)
    classes = labels.of_cloud(cloud, str(path))
    known = classes != IGNORED
    return (point_features(cloud, reach)[known], classes[known]), cloud.positions[known]


def some_rows(parts: Sequence[Rows], seed: int) -> Rows:
    """At most 200,000 random rows of all parts together: what is fitted."""
    features, classes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = np.random.default_rng(seed).permutation(len(classes))[:_TRAINING_POINTS]
    return features[rows], classes[rows]


def point_features(cloud: PointCloud, reach: float) -> NDArray[np.float32]:
    """[N, 118]: echoes, shapes of the nearest 8 to 100 points, columns of the surroundings, height above openings."""
    returns, number = cloud["return_number"].astype(float), cloud["number_of_returns"].astype(float)
    echoes = np.stack([cloud["intensity"].astype(float), returns, number, returns / np.maximum(number, 1)], axis=1)
    positions = cloud.local_positions().astype(np.float64)
    parts = [echoes, _neighborhood_features(positions, echoes), _column_features(positions, reach)]
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def _neighborhood_features(positions: NDArray[np.float64], echoes: NDArray[np.float64]) -> NDArray[np.float32]:
    """[N, 18 · 5]: eigenvalues, heights, densities and echoes of the k nearest points."""
    most = min(_NEIGHBORS[-1], len(positions))
    rows = knn(torch.from_numpy(positions), torch.from_numpy(positions), most).indices.view(-1, most).numpy()
    blocks = []
    for start in range(0, len(positions), _ROWS_AT_ONCE):
        near = rows[start : start + _ROWS_AT_ONCE]
        offsets = positions[near] - positions[start : start + _ROWS_AT_ONCE, None]
        echo = echoes[near]
        blocks.append(np.concatenate([_shape(offsets[:, :k], echo[:, :k]) for k in _NEIGHBORS], axis=1))
    return np.concatenate(blocks)


def _shape(offsets: NDArray[np.float64], echo: NDArray[np.float64]) -> NDArray[np.float32]:
    """Eighteen features [n, 18] of neighborhoods [n, k, 3], nearest first."""
    centered = offsets - offsets.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", centered, centered) / offsets.shape[1])
    small, middle, large = (np.maximum(values[:, i], 1e-9) for i in range(3))
    total = small + middle + large
    shares = np.stack([small, middle, large], axis=1) / total[:, None]
    height = offsets[:, :, 2]
    radius = np.maximum(np.sqrt((offsets[:, -1] ** 2).sum(axis=1)), 1e-3)
    flat_radius = np.maximum(np.sqrt((offsets[:, :, :2] ** 2).sum(axis=2).max(axis=1)), 1e-3)
    features = (
        (large - middle) / large,
        (middle - small) / large,
        small / large,
        small / total,
        np.cbrt(small * middle * large),
        -(shares * np.log(shares)).sum(axis=1),
        np.log(total),
        1 - np.abs(vectors[:, 2, 0]),
        height.std(axis=1),
        -height.min(axis=1),
        height.max(axis=1),
        height.mean(axis=1),
        np.log(radius),
        np.log(offsets.shape[1] / flat_radius**2),
        echo[:, :, 0].mean(axis=1),
        echo[:, :, 0].std(axis=1),
        echo[:, :, 3].mean(axis=1),
        echo[:, :, 2].mean(axis=1),
    )
    return np.stack(features, axis=1).astype(np.float32)


def _column_features(positions: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """[N, 4 · 5 + 4]: heights in square columns, and above openings of the raster of lowest points."""
    cell = 0.5 * reach
    place = ((positions[:, :2] - positions[:, :2].min(axis=0)) / cell).astype(np.int64)
    shape = tuple(place.max(axis=0) + 1)
    flat, height = np.ravel_multi_index(tuple(place.T), shape), positions[:, 2]
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.minimum.at(lowest.reshape(-1), flat, height)
    np.maximum.at(highest.reshape(-1), flat, height)
    moments = [np.bincount(flat, height**power, minlength=lowest.size).reshape(shape) for power in range(3)]
    columns = []
    for window in _WINDOWS:
        size = max(1, round(window * reach / cell))
        least = ndimage.minimum_filter(lowest, size, mode="nearest").reshape(-1)[flat]
        most = ndimage.maximum_filter(highest, size, mode="nearest").reshape(-1)[flat]
        count, first, second = (
            ndimage.uniform_filter(moment, size, mode="constant").reshape(-1)[flat] for moment in moments
        )
        mean = first / np.maximum(count, 1e-12)
        deviation = np.sqrt(np.maximum(second / np.maximum(count, 1e-12) - mean**2, 0))
        columns += [height - least, most - height, height - mean, deviation]
    empty = ~np.isfinite(lowest)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    filled = lowest[tuple(nearest)]
    for width in _OPENINGS:
        size = max(1, round(width * reach / cell))
        opened = ndimage.grey_opening(filled, (size, size), mode="nearest")
        columns.append(height - opened.reshape(-1)[flat])
    return np.stack(columns, axis=1)

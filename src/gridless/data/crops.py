"""Crops: cylinders cut out of a prepared cloud, merged per voxel, in local coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gridless.data.augmentation import AugmentationSettings, rotation
from gridless.data.inputs import InputSettings, PreparedCloud
from gridless.data.labels import IGNORED
from gridless.subsample import voxel_grid


@dataclass(frozen=True, eq=False)
class Crop:
    """The n points of a cylinder and the M network points that they were merged to.

    Args:
        rows: [n] rows of the cloud.
        point_positions: [n, D] float32 local coordinates of these points.
        positions: [M, D] float32 local coordinates of the network points.
        features: [M, C] float32.
        labels: [M] int64 most frequent class with -1 ignored, or None.
    """

    rows: NDArray[np.int64]
    point_positions: NDArray[np.float32]
    positions: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def cut_crop(
    cloud: PreparedCloud,
    center: NDArray[np.float64],
    settings: InputSettings,
    augmentation: AugmentationSettings | None = None,
    rng: np.random.Generator | None = None,
    max_points: int | None = None,
    angle: float = 0.0,
) -> Crop:
    """Cut the cylinder of ``settings.crop_radius`` around ``center`` and merge its points per voxel.

    Coordinates become local before any rounding, so that a crop does not depend on where on the map it lies.

    Args:
        cloud: what to cut from.
        center: [D - 1] horizontal place of the axis.
        settings: radius and voxel size.
        augmentation: random changes, drawn from ``rng``; None for none.
        rng: needed with ``augmentation``.
        max_points: keep at most so many network points, those nearest to the axis (a random choice would change the
            density that the network learns to expect).
        angle: by which the network is shown the crop turned about its axis, in radians.
    """
    rows = np.sort(np.asarray(cloud.tree.query_ball_point(center, settings.crop_radius), dtype=np.int64))
    if augmentation is not None:
        assert rng is not None
        rows = augmentation.kept_rows(rows, rng)
    members = cloud.positions[rows]
    middle = np.zeros(members.shape[1])
    middle[: len(center)] = center
    if len(rows) and members.shape[1] > len(center):
        middle[-1] = members[:, -1].mean()
    offsets = members - middle
    if augmentation is not None:
        assert rng is not None
        offsets = offsets @ augmentation.transform(offsets.shape[1], rng).T
    if angle:
        offsets[:, :2] @= rotation(angle).T
    local = offsets.astype(np.float32)
    features = cloud.features[rows]
    kept, voxel = (t.numpy() for t in voxel_grid(torch.from_numpy(local), settings.voxel_size, return_inverse=True))
    counts = np.bincount(voxel, minlength=len(kept))[:, None]
    positions = (_sums(local, voxel, len(kept)) / counts).astype(np.float32)
    merged = (_sums(features, voxel, len(kept)) / counts).astype(np.float32)
    labels = None if cloud.labels is None else _most_frequent(cloud.labels[rows], voxel, len(kept))
    if max_points is not None and len(positions) > max_points:
        nearest = np.argsort((positions[:, : len(center)] ** 2).sum(axis=1), kind="stable")[:max_points]
        nearest.sort()
        positions, merged = positions[nearest], merged[nearest]
        labels = None if labels is None else labels[nearest]
    centered = [channel for channel, name in enumerate(cloud.channels) if name == "height"]
    if centered and len(merged):
        merged[:, centered] -= merged[:, centered].mean(axis=0)
    if augmentation is not None and rng is not None:
        positions, merged = augmentation.change_points(positions, merged, cloud.channels, rng)
    return Crop(rows, local, positions, merged, labels)


def whole_crop(
    cloud: PreparedCloud,
    settings: InputSettings,
    augmentation: AugmentationSettings | None = None,
    rng: np.random.Generator | None = None,
    max_points: int | None = None,
    angle: float = 0.0,
) -> Crop:
    """The crop of a whole object, around the middle of its bounds; arguments as in :func:`cut_crop`.

    Raises:
        ValueError: the object is empty, or does not fit into the crop radius.
    """
    if len(cloud) == 0:
        raise ValueError(f"{cloud.name}: has no points")
    middle = (cloud.horizontal.min(axis=0) + cloud.horizontal.max(axis=0)) / 2
    inside = cloud.tree.query_ball_point(middle, settings.crop_radius, return_length=True)
    if inside < len(cloud):
        raise ValueError(
            f"{cloud.name}: {len(cloud) - inside} of {len(cloud)} points lie outside inputs.crop_radius = "
            f"{settings.crop_radius:g}; make it large enough for whole objects"
        )
    return cut_crop(cloud, middle, settings, augmentation, rng, max_points, angle)


def covering_centers(
    horizontal: NDArray[np.float64], spacing: float, low: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Places [T, D - 1] on a square grid such that every point lies within spacing / √2 of one (in the plane).

    Only places with points in their own grid cell are returned, in raster order; the grid is tied to ``low`` [D - 1],
    by default the points' lower bounds.

    Example:
        >>> covering_centers(np.array([[0.0, 0.0], [1.0, 0.5], [9.0, 0.0]]), 4.0).tolist()
        [[2.0, 2.0], [10.0, 2.0]]
    """
    if len(horizontal) == 0:
        return np.zeros((0, horizontal.shape[1]))
    low = horizontal.min(axis=0) if low is None else low
    cells = _distinct_rows(np.floor((horizontal - low) / spacing).astype(np.int64))
    centers: NDArray[np.float64] = low + (cells + 0.5) * spacing
    return centers


def _distinct_rows(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """``np.unique(cells, axis=0)``, many times faster: each row becomes one number."""
    values, ranks = zip(*(np.unique(column, return_inverse=True) for column in cells.T), strict=True)
    shape = tuple(len(column) for column in values)
    distinct = np.unique(np.ravel_multi_index(ranks, shape))
    rows = np.unravel_index(distinct, shape)
    return np.stack([column[rank] for column, rank in zip(values, rows, strict=True)], axis=1)


def _sums(values: NDArray[np.float32], group: NDArray[np.int64], num_groups: int) -> NDArray[np.float64]:
    columns = [np.bincount(group, weights=column, minlength=num_groups) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((num_groups, 0))


def _most_frequent(labels: NDArray[np.int64], group: NDArray[np.int64], num_groups: int) -> NDArray[np.int64]:
    """Most frequent label of each group, the ignored ones not counted; -1 for a group that has no other."""
    known = labels != IGNORED
    num_classes = int(labels.max(initial=0)) + 1
    votes = np.bincount(group[known] * num_classes + labels[known], minlength=num_groups * num_classes)
    table = votes.reshape(num_groups, num_classes)
    return np.where(table.sum(axis=1) > 0, table.argmax(axis=1), IGNORED)

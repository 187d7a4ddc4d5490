"""Standard deviations and normals of the nearest points around each point, at several numbers of neighbors at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.whole import WholeCloud
from gridless.neighbors import PointIndex

_POINTS_AT_ONCE = 16_384  # whose neighbors are in memory together
_SMALLEST_DEVIATION = 1e-9  # of copies of one point


@dataclass(frozen=True, eq=False)
class LocalShape:
    """How the nearest points of every point lie.

    Args:
        deviations: standard deviations along the principal axes, ascending [N, 3].
        normals: the axis of the smallest [N, 3].
    """

    deviations: NDArray[np.float64]
    normals: NDArray[np.float64]


@dataclass
class _Announced:
    """The numbers of neighbors that will be asked for, and the shapes of the cloud that was asked for last."""

    ks: tuple[int, ...]
    cloud: PointCloud | None = None
    shapes: dict[int, LocalShape] = field(default_factory=dict)


_announced: ContextVar[_Announced | None] = ContextVar("_announced", default=None)


@contextmanager
def neighbors_announced(ks: Iterable[int]) -> Iterator[None]:
    """Within it :func:`local_shape` answers for all ``ks`` with one search, which it keeps until the end."""
    token = _announced.set(_Announced(tuple(ks)))
    try:
        yield
    finally:
        _announced.reset(token)


def local_shape(cloud: PointCloud, whole: WholeCloud, k: int) -> LocalShape:
    """The shape of the k nearest points of every point, itself included; all points where there are fewer.

    Raises:
        ValueError: the cloud has not three coordinates.
    """
    announced = _announced.get() or _Announced(())
    if announced.cloud is not cloud or k not in announced.shapes:
        positions = torch.from_numpy(cloud.local_positions(whole.center()))
        announced.shapes = _local_shapes(positions, sorted({k, *announced.ks}))
        announced.cloud = cloud
    return announced.shapes[k]


def _local_shapes(positions: torch.Tensor, ks: Sequence[int]) -> dict[int, LocalShape]:
    """At every one of the ascending ``ks``."""
    if positions.shape[1] != 3:
        raise ValueError(f"shape features need three coordinates, got {positions.shape[1]}")
    count = len(positions)
    deviations, normals = np.empty((len(ks), count, 3)), np.empty((len(ks), count, 3))
    index = PointIndex(positions)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, count, _POINTS_AT_ONCE):
            rows = slice(start, start + _POINTS_AT_ONCE)
            nearest = index.knn(positions[rows], min(ks[-1], count)).indices.view(len(positions[rows]), -1)
            covariances = _covariances(positions, positions[rows], nearest, ks)
            # numpy's loop over small matrices runs in one thread and lets others run beside it.
            parts = list(pool.map(np.linalg.eigh, np.array_split(covariances, torch.get_num_threads(), axis=1)))
            variances = np.concatenate([part.eigenvalues for part in parts], axis=1)
            deviations[:, rows] = np.sqrt(np.maximum(variances, 0.0))
            normals[:, rows] = np.concatenate([part.eigenvectors[..., 0] for part in parts], axis=1)
    deviations[..., 2] = np.maximum(deviations[..., 2], _SMALLEST_DEVIATION)
    return {k: LocalShape(*shape) for k, *shape in zip(ks, deviations, normals, strict=True)}


def _covariances(
    sources: torch.Tensor, queries: torch.Tensor, nearest: torch.Tensor, ks: Sequence[int]
) -> NDArray[np.float64]:
    """Of the first k of ``nearest`` [M, K], nearest first, at every k [len(ks), M, 3, 3]."""
    offsets = sources[nearest].double() - queries.double()[:, None]
    total, products = offsets.new_zeros(len(queries), 3), offsets.new_zeros(len(queries), 3, 3)
    covariances = []
    for before, k in itertools.pairwise((0, *(min(k, nearest.shape[1]) for k in ks))):
        added = offsets[:, before:k]
        total = total + added.sum(dim=1)
        products = torch.baddbmm(products, added.transpose(1, 2), added)
        mean = total / k
        covariances.append(products / k - mean[:, :, None] * mean[:, None])
    return torch.stack(covariances).numpy()

"""Shapes of neighborhoods: exact against covariances row by row, one search for all numbers of neighbors."""

import numpy as np
import pytest

from gridless.cloud import PointCloud
from gridless.data import shapes
from gridless.data.shapes import local_shape, neighbors_announced
from gridless.data.whole import WholeCloud
from gridless.neighbors import PointIndex

_FAR = np.array([6.5e5, 6.2e6, 300.0])  # map coordinates


def _cloud(points: int) -> PointCloud:
    return PointCloud(np.random.default_rng(0).normal(size=(points, 3)) * (3, 2, 0.5) + _FAR)


@pytest.mark.parametrize("k", [1, 5, 12, 60])
def test_shape_is_that_of_the_nearest_points(k: int) -> None:
    cloud = _cloud(40)
    whole = WholeCloud.of(cloud)
    found = local_shape(cloud, whole, k)
    positions = cloud.local_positions(whole.center()).astype(np.float64)
    for row, position in enumerate(positions):
        nearest = positions[np.argsort(((positions - position) ** 2).sum(axis=1))[:k]]
        values, vectors = np.linalg.eigh(np.cov(nearest.T, bias=True))
        expected = np.maximum(np.sqrt(np.maximum(values, 0)), (0, 0, 1e-9))
        np.testing.assert_allclose(found.deviations[row], expected, atol=1e-7)
        if values[1] - values[0] > 1e-6:
            assert abs(found.normals[row] @ vectors[:, 0]) == pytest.approx(1)


def test_announced_numbers_of_neighbors_take_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = _cloud(300)
    whole = WholeCloud.of(cloud)
    monkeypatch.setattr(shapes, "_POINTS_AT_ONCE", 128)
    alone = {k: local_shape(cloud, whole, k) for k in (4, 9, 30)}
    searched: list[int] = []
    search = PointIndex.knn
    monkeypatch.setattr(PointIndex, "knn", lambda index, rows, k: searched.append(k) or search(index, rows, k))
    with neighbors_announced([9, 30, 4, 9]):
        together = {k: local_shape(cloud, whole, k) for k in (4, 9, 30)}
    assert searched == [30, 30, 30]  # a block each
    for k, shape in alone.items():
        np.testing.assert_allclose(together[k].deviations, shape.deviations, atol=1e-7)
        np.testing.assert_allclose(abs((together[k].normals * shape.normals).sum(axis=1)), 1, atol=1e-9)


def test_another_cloud_and_another_number_are_not_mistaken_for_what_was_announced() -> None:
    first, second = _cloud(50), _cloud(60)
    with neighbors_announced([4]):
        assert len(local_shape(first, WholeCloud.of(first), 4).deviations) == 50
        assert len(local_shape(second, WholeCloud.of(second), 4).deviations) == 60
        more = local_shape(second, WholeCloud.of(second), 8).deviations
    np.testing.assert_allclose(more, local_shape(second, WholeCloud.of(second), 8).deviations, atol=1e-7)


def test_points_of_the_plane_have_no_shape() -> None:
    cloud = PointCloud(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="three coordinates, got 2"):
        local_shape(cloud, WholeCloud.of(cloud), 3)

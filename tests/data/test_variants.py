"""Variants of a cloud: thinned out, on other ground."""

import numpy as np
import pytest

from gridless import PointCloud
from gridless.data import CloudVariant, FeatureSettings, InputSettings, LabelMap, on_relief, thinned
from gridless.data.published.base import prepared_cloud


def flat(size=1000.0, num_points=4000):
    rng = np.random.default_rng(0)
    return PointCloud(rng.uniform(0, 1, (num_points, 3)) * [size, size, 0], {"row": np.arange(num_points)})


def test_thinning_reaches_its_density_and_is_repeatable():
    rng = np.random.default_rng(0)
    # Half of the square is empty: density counts the ground that is covered.
    cloud = PointCloud(rng.uniform(0, 1, (20_000, 3)) * [50, 100, 5])
    once, twice = thinned(cloud, 0.5), thinned(cloud, 0.5)
    assert np.array_equal(once.positions, twice.positions)
    assert len(once) == pytest.approx(2500, rel=0.1)
    assert len(thinned(cloud[:0], 0.5)) == 0


def test_clouds_of_one_coordinate_are_thinned_too():
    line = PointCloud(np.linspace(0, 100, 1001)[:, None])
    assert 80 < len(thinned(line, 1.0)) < 120


def test_a_relief_changes_heights_alone_and_is_repeatable():
    cloud = flat()
    changed = on_relief(cloud, 3)
    assert np.array_equal(changed.positions[:, :2], cloud.positions[:, :2])
    assert np.array_equal(changed["row"], cloud["row"])
    assert np.array_equal(on_relief(cloud, 3).positions, changed.positions)
    assert not np.array_equal(on_relief(cloud, 4).positions, changed.positions)
    assert cloud.positions[:, 2].max() == 0


@pytest.mark.parametrize("number", range(4))
def test_a_relief_has_banks_and_hills_that_can_be_walked_on(number):
    heights = on_relief(flat(), number).positions[:, 2]
    assert 5 < np.ptp(heights) < 100
    place = np.linspace(0, 1000, 200_001)
    path = np.column_stack([place, np.full_like(place, 500.0), np.zeros_like(place)])
    # The path's own square is as wide as the tile's, so that it lies on the same kind of ground.
    slopes = np.diff(on_relief(PointCloud(path), number).positions[:, 2]) / np.diff(place)
    assert 0.05 < np.abs(slopes).max() < 3


def test_what_stands_on_a_relief_keeps_its_shape():
    ground = flat()
    tower = PointCloud(np.column_stack([np.full(50, 400.0), np.full(50, 600.0), np.linspace(0, 20, 50)]))
    both = on_relief(PointCloud.concatenate([ground.without_columns("row"), tower]), 2)
    assert np.allclose(np.diff(both.positions[-50:, 2]), np.diff(tower.positions[:, 2]))


def test_variants_do_one_after_the_other_and_nothing_by_default():
    cloud = flat()
    assert CloudVariant().of(cloud) is cloud
    both = CloudVariant(density=0.001, relief=1).of(cloud)
    assert np.array_equal(both.positions, on_relief(thinned(cloud, 0.001), 1).positions)
    assert len(CloudVariant(relief=1).of(cloud[:0])) == 0


def test_errors_of_variants():
    with pytest.raises(ValueError, match="density must be positive, got -1"):
        CloudVariant(density=-1)
    with pytest.raises(ValueError, match="relief must be a number from 0 on, got -1"):
        CloudVariant(relief=-1)
    with pytest.raises(ValueError, match="x, y and height are needed, the cloud has 2 coordinates"):
        on_relief(PointCloud(np.zeros((3, 2))), 1)


def test_a_cloud_that_cannot_be_varied_is_named():
    inputs = InputSettings(features=[FeatureSettings("height")], voxel_size=1.0, crop_radius=5.0)
    labels, flat_map = LabelMap({"ground": [2]}), PointCloud(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"map\.npz: relief: x, y and height are needed"):
        prepared_cloud(flat_map, "map.npz", inputs, labels, CloudVariant(relief=1))

"""PointCloud: columns, selection, concatenation, coordinates far from the origin."""

import numpy as np
import pytest

from gridless.cloud import PointCloud


def cloud(count=4, **columns):
    positions = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    return PointCloud(positions, {"intensity": np.arange(count), **columns}, {"crs": "EPSG:2154"})


def test_positions_are_float64_and_columns_found_by_name():
    points = cloud()
    assert points.positions.dtype == np.float64
    assert (len(points), points.dim) == (4, 3)
    assert "intensity" in points
    assert "rgb" not in points
    with pytest.raises(KeyError, match="no column 'rgb'; this cloud has intensity"):
        points["rgb"]


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([False, True, True, False]), [1, 2]])
def test_selection_takes_rows_of_everything(rows):
    part = cloud(rgb=np.arange(12).reshape(4, 3))[rows]
    assert part["intensity"].tolist() == [1, 2]
    assert part["rgb"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.positions[:, 0].tolist() == [3.0, 6.0]
    assert part.metadata == {"crs": "EPSG:2154"}


def test_columns_are_added_and_removed_in_a_new_cloud():
    points = cloud()
    labelled = points.with_columns(label=[1, 2, 3, 4], intensity=[0, 0, 0, 0])
    assert labelled["label"].tolist() == [1, 2, 3, 4]
    assert labelled["intensity"].sum() == 0
    assert "label" not in points
    assert list(labelled.without_columns("label", "unknown").columns) == ["intensity"]


def test_local_positions_keep_their_digits_far_from_the_origin():
    near = np.random.default_rng(0).integers(0, 1000, (50, 3)) / 1024
    origin = np.array([652_000.0, 6_862_000.0, 35.0])
    far = PointCloud(near + origin)
    local = far.local_positions(origin)
    assert local.dtype == np.float32
    assert np.array_equal(local, near.astype(np.float32))
    middle = far.local_positions()
    assert np.allclose(middle.min(axis=0), -middle.max(axis=0))
    assert PointCloud(np.empty((0, 2))).local_positions().shape == (0, 2)


def test_concatenation_keeps_the_columns_of_all():
    joined = PointCloud.concatenate([cloud(2, label=[1, 2]), cloud(3)])
    assert len(joined) == 5
    assert list(joined.columns) == ["intensity"]
    assert joined["intensity"].tolist() == [0, 1, 0, 1, 2]
    with pytest.raises(ValueError, match="at least one cloud"):
        PointCloud.concatenate([])


def test_bad_shapes_and_coordinates():
    with pytest.raises(ValueError, match=r"positions must be \[N, D\] with D >= 1, got shape \(3,\)"):
        PointCloud(np.zeros(3))
    with pytest.raises(ValueError, match=r"column 'label' must have 4 rows like positions, got shape \(3,\)"):
        cloud(label=[1, 2, 3])
    with pytest.raises(ValueError, match=r"column 'label' must have 4 rows"):
        cloud(label=1)
    broken = PointCloud([[0.0, 1.0], [np.nan, 0.0], [np.inf, 0.0]])
    with pytest.raises(ValueError, match=r"scan\.laz: 2 of 3 points have NaN or infinite coordinates \(first: row 1"):
        broken.require_finite("scan.laz")
    broken[[0]].require_finite("scan.laz")

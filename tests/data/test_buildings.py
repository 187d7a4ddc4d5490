"""Buildings set into a labelled cloud."""

import numpy as np
import pytest

from gridless import PointCloud
from gridless.data import LabelMap, with_buildings

LABELS = LabelMap({"ground": [2], "vegetation": [3, 4, 5], "building": [6]})


def landscape(size=1000.0, num_points=40_000):
    """A gentle slope, a tenth of it under trees of two echoes."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 1, (num_points, 3)) * [size, size, 0.1]
    positions[:, 2] += 0.01 * positions[:, 0]
    is_tree = rng.uniform(0, 1, num_points) < 0.1
    positions[is_tree, 2] += rng.uniform(1, 20, is_tree.sum())
    echo = np.where(is_tree, rng.integers(1, 3, num_points), 1)
    columns = {
        "classification": np.where(is_tree, 5, 2).astype(np.uint8),
        "return_number": echo.astype(np.uint8),
        "number_of_returns": np.where(is_tree, 2, 1).astype(np.uint8),
        "intensity": rng.integers(100, 2000, num_points).astype(np.uint16),
        "row": np.arange(num_points),
    }
    return PointCloud(positions, columns)


@pytest.mark.parametrize("number", range(3))
def test_buildings_cover_a_part_of_the_ground_and_stand_above_it(number):
    before = landscape()
    after = with_buildings(before, number, LABELS)
    row, roofs = after["row"], after["classification"] == 6
    assert 0.03 < roofs.mean() < 0.25
    risen = after.positions[roofs, 2] - 0.01 * after.positions[roofs, 0]
    assert 3 < np.median(risen) < 18
    assert (risen > 1).all()  # even where the slope is higher than in the middle of a roof of 270 m
    assert np.array_equal(after.positions[:, :2], before.positions[row, :2])
    assert np.array_equal(after.positions[~roofs], before.positions[row[~roofs]])
    for name in before.columns:
        assert after[name].dtype == before[name].dtype
        assert np.array_equal(after[name][~roofs], before[name][row[~roofs]])


def test_roofs_are_single_echoes_and_what_lies_beneath_goes():
    before = landscape()
    after = with_buildings(before, 0, LABELS)
    roofs = after["classification"] == 6
    assert (after["return_number"][roofs] == 1).all()
    assert (after["number_of_returns"][roofs] == 1).all()
    gone = np.setdiff1d(before["row"], after["row"])
    assert len(gone) > 0
    assert (before["return_number"][gone] > 1).all()


def test_the_same_number_gives_the_same_buildings_and_another_one_others():
    cloud = landscape()
    once, twice, other = (with_buildings(cloud, number, LABELS) for number in (1, 1, 2))
    assert np.array_equal(once.positions, twice.positions)
    assert np.array_equal(once["intensity"], twice["intensity"])
    assert not np.array_equal(once["classification"], other["classification"])


def test_buildings_need_neither_echoes_nor_intensity_nor_any_point():
    cloud = landscape().without_columns("return_number", "number_of_returns", "intensity")
    village = with_buildings(cloud, 0, LABELS)
    assert len(village) == len(cloud)
    assert (village["classification"] == 6).any()
    assert len(with_buildings(cloud[:0], 0, LABELS)) == 0


def test_nothing_is_built_where_there_is_no_ground():
    cloud = landscape()
    forest = cloud[cloud["classification"] == 5]
    assert with_buildings(forest, 0, LABELS)["classification"].tolist() == [5] * len(forest)


def test_errors_of_buildings():
    with pytest.raises(ValueError, match="x, y and height are needed, the cloud has 2 coordinates"):
        with_buildings(PointCloud(np.zeros((3, 2)), {"classification": np.zeros(3, int)}), 1, LABELS)
    with pytest.raises(ValueError, match="buildings: no label column 'classification'"):
        with_buildings(landscape().without_columns("classification"), 1, LABELS)
    with pytest.raises(ValueError, match="no class building and no class ground among road, tree"):
        with_buildings(landscape(), 1, LabelMap({"road": [2], "tree": [5]}))

"""The whole survey: columns, numbering, density, classes, and the same bits from the same seed."""

import numpy as np
import pytest

from gridless.data.simulation import SceneSettings, simulate_airborne_lidar

SIZE = (40.0, 40.0)


@pytest.fixture(scope="module")
def cloud():
    return simulate_airborne_lidar(5, SIZE)


def test_columns_have_the_types_of_a_las_file(cloud):
    types = {name: values.dtype.name for name, values in cloud.columns.items()}
    assert types == {
        "intensity": "uint16",
        "return_number": "uint8",
        "number_of_returns": "uint8",
        "gps_time": "float64",
        "scan_angle": "int16",
        "classification": "uint8",
        "point_source_id": "uint16",
    }


def test_every_pulse_is_complete(cloud):
    assert (np.diff(cloud["gps_time"]) >= 0).all()
    _, first, count = np.unique(cloud["gps_time"], return_index=True, return_counts=True)
    np.testing.assert_array_equal(cloud["number_of_returns"], np.repeat(count, count))
    np.testing.assert_array_equal(cloud["return_number"], np.arange(len(cloud)) - np.repeat(first, count) + 1)
    assert 3 <= count.max() <= 5


def test_density_is_near_what_was_asked(cloud):
    pulses = (cloud["return_number"] == 1).sum() / (SIZE[0] * SIZE[1])
    assert pulses == pytest.approx(9.0, rel=0.12)


def test_positions_are_inside_in_map_coordinates(cloud):
    local = cloud.positions - (650_000.0, 6_860_000.0, 100.0)
    assert (local[:, :2] >= 0).all()
    assert (local[:, :2] <= SIZE).all()
    assert (np.ptp(local[:, :2], axis=0) > 39).all()
    assert -15 < local[:, 2].min() < local[:, 2].max() < 40


def test_all_classes_are_present(cloud):
    labels, counts = np.unique(cloud["classification"], return_counts=True)
    assert labels.tolist() == [2, 3, 5, 6, 14, 15, 64]
    assert counts.min() >= 20
    assert counts[0] > 0.3 * len(cloud)


def test_same_seed_same_bits_other_seed_other_scene():
    first, again, other = (simulate_airborne_lidar(seed, (20.0, 20.0), density=3.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.positions, again.positions)
    for name in first.columns:
        np.testing.assert_array_equal(first[name], again[name])
    assert len(first) != len(other) or not np.allclose(first.positions, other.positions, atol=0.5)


def test_an_empty_list_of_trees_leaves_no_tree():
    bare = simulate_airborne_lidar(1, (20.0, 20.0), 3.0, SceneSettings(trees=0.0, hedges=0.0, bushes=0.0))
    assert not np.isin(bare["classification"], (3, 5)).any()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="size"):
        simulate_airborne_lidar(0, (0.0, 10.0))
    with pytest.raises(ValueError, match="density"):
        simulate_airborne_lidar(0, density=0.0)
    with pytest.raises(ValueError, match="pole_spacing"):
        SceneSettings(pole_spacing=0.0)

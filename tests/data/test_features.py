"""Computed features on geometry whose answer is known."""

import numpy as np
import pytest

from gridless import PointCloud
from gridless.data import COMPUTED_FEATURES, FeatureSettings, InputSettings, WholeCloud

UTM = np.array([652_000.0, 6_862_000.0, 120.0])


def town() -> tuple[PointCloud, np.ndarray]:
    """Ground with a slope of 1:10, a flat-roofed house 12 m wide and 8 m high on it, a mast of 15 m."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 60, (20_000, 2))
    ground = 0.1 * xy[:, 0]
    on_house = (np.abs(xy - 30) < 6).all(axis=1)
    height = np.where(on_house, 0.1 * 30 + 8 - ground, 0.0)
    mast = np.column_stack([np.full(30, 10.3), np.full(30, 10.3), 1.03 + np.linspace(0.5, 15, 30)])
    positions = np.vstack([np.column_stack([xy, ground + height]), mast])
    return PointCloud(positions + UTM), np.concatenate([height, mast[:, 2] - 1.03])


def test_height_above_ground_removes_slope_and_keeps_house_and_mast():
    cloud, truth = town()
    found = COMPUTED_FEATURES["height_above_ground"](cloud)
    assert np.abs(found - truth).max() < 0.7
    assert np.abs(found - truth).mean() < 0.1


@pytest.mark.parametrize("name", ["height_above_ground", "height_above_lowest"])
def test_heights_above_others_need_a_horizontal_axis(name):
    with pytest.raises(ValueError, match="at least two coordinates, the last one up, got 1"):
        COMPUTED_FEATURES[name](PointCloud([[0.0], [1.0]]))


def test_height_above_ground_fills_holes():
    cloud, _ = town()
    hole = np.linalg.norm(cloud.positions[:, :2] - UTM[:2] - [45, 15], axis=1) < 5
    inside = PointCloud(np.vstack([cloud.positions[~hole], UTM + np.array([45, 15, 4.5 + 6])]))
    assert COMPUTED_FEATURES["height_above_ground"](inside)[-1] == pytest.approx(6.0, abs=0.5)


@pytest.mark.parametrize("name", sorted(COMPUTED_FEATURES))
def test_features_of_hard_clouds_are_finite(name):
    columns = {"return_number": 1, "number_of_returns": 0}
    for positions in (UTM[None], np.repeat(UTM[None], 40, axis=0), UTM + np.linspace(0, 1, 40)[:, None]):
        cloud = PointCloud(positions, {key: np.full(len(positions), value) for key, value in columns.items()})
        values = COMPUTED_FEATURES[name](cloud)
        assert values.shape == (len(cloud),)
        assert np.isfinite(values).all()


def test_shape_features_tell_wire_plane_wall_and_ball():
    rng = np.random.default_rng(1)
    shapes = {
        "wire": rng.uniform(0, 10, (500, 1)) * [1.0, 0, 0] + rng.normal(0, 0.001, (500, 3)),
        "floor": np.column_stack([rng.uniform(0, 5, (500, 2)), np.zeros(500)]),
        "wall": np.column_stack([rng.uniform(0, 5, 500), np.zeros(500), rng.uniform(0, 5, 500)]),
        "ball": rng.normal(0, 1, (500, 3)),
    }
    median = {
        shape: {name: np.median(COMPUTED_FEATURES[name](PointCloud(points + UTM)))
                for name in ("linearity", "planarity", "scattering", "verticality")}
        for shape, points in shapes.items()
    }  # fmt: skip
    assert median["wire"]["linearity"] > 0.9
    assert median["floor"]["planarity"] > 0.6
    assert median["floor"]["verticality"] < 1e-3
    assert median["wall"]["verticality"] > 0.99
    assert median["ball"]["scattering"] > 0.3 > median["floor"]["scattering"]


def test_density_and_lowest():
    cloud = PointCloud([[0.0, 0, 0], [0.5, 0, 0], [0.5, 0, 3], [20, 0, 9]])
    assert np.allclose(COMPUTED_FEATURES["local_density"](cloud, radius=1.0), np.log([2, 2, 1, 1]))
    assert COMPUTED_FEATURES["height_above_lowest"](cloud).tolist() == [0, 0, 3, 0]


def test_raster_of_far_flung_points_is_refused():
    with pytest.raises(ValueError, match="too large; remove points far outside"):
        COMPUTED_FEATURES["height_above_ground"](PointCloud([[0.0, 0, 0], [1e8, 1e8, 0]]))


def test_transforms():
    cloud = PointCloud(np.zeros((101, 3)), {"intensity": np.arange(101.0)})
    robust = FeatureSettings("intensity", transform="robust", limits=(-1, 1)).compute(cloud, "x")
    assert robust[:, 0].min() == -1
    assert robust[50, 0] == pytest.approx(0, abs=1e-6)
    logged = FeatureSettings("intensity", transform="log", offset=1, scale=2).compute(cloud, "x")
    assert logged[100, 0] == pytest.approx((np.log(101) - 1) / 2)


def test_missing_column_names_column_file_and_those_present():
    cloud = PointCloud(np.zeros((2, 3)), {"gps_time": np.zeros(2)})
    with pytest.raises(ValueError, match=r"tile\.laz: no column 'intensity'; this cloud has gps_time"):
        InputSettings((FeatureSettings("intensity"),), 0.5, 5).prepare(cloud, "tile.laz")
    with pytest.raises(ValueError, match=r"tile\.laz: return_ratio: no column 'return_number'"):
        InputSettings((FeatureSettings("return_ratio"),), 0.5, 5).prepare(cloud, "tile.laz")


def test_nan_coordinates_and_values_name_the_row():
    settings = InputSettings((FeatureSettings("intensity"),), 0.5, 5)
    values = np.array([0.0, np.nan])
    with pytest.raises(ValueError, match=r"tile\.laz: 1 of 2 points have NaN.*row 1"):
        settings.prepare(PointCloud([[0.0, 0, 0], [0, np.nan, 0]], {"intensity": np.zeros(2)}), "tile.laz")
    with pytest.raises(ValueError, match=r"feature 'intensity' is NaN or infinite for 1 of 2 points \(first: row 1"):
        settings.prepare(PointCloud(np.zeros((2, 3)), {"intensity": values}), "tile.laz")


@pytest.mark.parametrize("num_points", [2, 5, 1000])
def test_quantiles_of_blocks_are_those_of_all_values(num_points):
    rng = np.random.default_rng(num_points)
    values = np.column_stack([rng.normal(size=num_points), rng.integers(-3, 3, num_points), np.zeros(num_points)])
    cloud = PointCloud(values)
    whole = WholeCloud(values.min(axis=0), values.max(axis=0), lambda: [cloud[:1], cloud[1:]])
    found = whole.quantiles(lambda block: block.positions, (0.02, 0.5, 0.98))
    np.testing.assert_allclose(found, np.quantile(values, (0.02, 0.5, 0.98), axis=0), rtol=1e-14, atol=1e-14)


def test_an_optional_feature_is_zero_where_its_columns_are_missing():
    bare, full = PointCloud(np.eye(3)), PointCloud(np.eye(3), {"intensity": np.array([1.0, 2.0, 3.0])})
    feature = FeatureSettings("intensity", offset=1.0, scale=2.0, optional=True)
    assert feature.compute(bare, "bare").tolist() == [[0.0]] * 3
    assert feature.compute(full, "full").tolist() == [[0.0], [0.5], [1.0]]
    ratio = FeatureSettings("return_ratio", optional=True)
    assert ratio.compute(full, "full").tolist() == [[0.0]] * 3


def test_a_cloud_without_points_has_features_of_no_points():
    names = ["constant", "height", "height_above_ground", "height_above_lowest", "linearity", "verticality", "rgb"]
    settings = InputSettings(tuple(FeatureSettings(name) for name in names), 0.5, 5)
    empty = PointCloud(np.zeros((0, 3)), {"rgb": np.zeros((0, 3))})
    assert settings.prepare(empty, "empty.ply").features.shape == (0, len(names) + 2)

"""Crops, their sampling and their augmentation."""

import numpy as np
import pytest

from gridless import PointCloud, PyramidSettings
from gridless.data import (
    AugmentationSettings,
    Batch,
    CoveringCrops,
    FeatureSettings,
    InputSettings,
    SamplerSettings,
    TrainingCrops,
    cut_crop,
)

SETTINGS = InputSettings((FeatureSettings("height"), FeatureSettings("value")), voxel_size=0.5, crop_radius=4.0)
PYRAMID = PyramidSettings(voxel_sizes=(1.0,), num_neighbors=8)


def scene(offset=(0.0, 0.0, 0.0), seed=0):
    rng = np.random.default_rng(seed)
    # Multiples of 1/64 m survive large offsets exactly.
    positions = np.round(rng.uniform(0, 1, (4000, 3)) * [20, 20, 3] * 64) / 64
    labels = (positions[:, 0] > 18).astype(np.int64)  # a tenth of the points
    labels[:50] = -1
    cloud = PointCloud(positions + np.asarray(offset), {"value": positions[:, 2]})
    return SETTINGS.prepare(cloud, "scene", labels)


def crops(seed=7, clouds=None, shares=None, **sampler):
    return TrainingCrops(
        clouds or [scene(), scene(seed=1)], ("a", "b"), SETTINGS, PYRAMID,
        SamplerSettings(**sampler), AugmentationSettings(jitter=0.01), seed, length=100, shares=shares,
    )  # fmt: skip


def test_a_crop_does_not_depend_on_where_on_the_map_it_lies():
    offset = np.array([652_000.0, 6_862_000.0, 120.0])
    here = cut_crop(scene(), np.array([10.0, 10.0]), SETTINGS)
    there = cut_crop(scene(offset), np.array([10.0, 10.0]) + offset[:2], SETTINGS)
    assert len(here.positions) > 100
    assert np.array_equal(here.rows, there.rows)
    assert np.array_equal(here.labels, there.labels)
    assert np.allclose(here.positions, there.positions, atol=1e-5)
    assert np.allclose(here.features, there.features, atol=1e-5)


def test_a_crop_holds_the_cylinder_and_merges_its_voxels():
    cloud = scene()
    crop = cut_crop(cloud, np.array([10.0, 10.0]), SETTINGS)
    inside = np.linalg.norm(cloud.positions[:, :2] - 10, axis=1) <= 4
    assert np.array_equal(crop.rows, np.flatnonzero(inside))
    voxels = np.floor(crop.point_positions / 0.5).astype(int)
    unique, inverse = np.unique(voxels, axis=0, return_inverse=True)
    assert len(crop.positions) == len(unique)
    means = np.array([crop.point_positions[inverse.reshape(-1) == v].mean(axis=0) for v in range(len(unique))])
    order = np.lexsort(np.floor(crop.positions / 0.5).astype(int).T[::-1])
    assert np.allclose(crop.positions[order], means, atol=1e-5)
    assert np.abs(crop.features[:, 0].mean()) < 1e-5


def test_the_cap_keeps_what_is_nearest_to_the_axis():
    whole = cut_crop(scene(), np.array([10.0, 10.0]), SETTINGS)
    capped = cut_crop(scene(), np.array([10.0, 10.0]), SETTINGS, max_points=100)
    radii = np.linalg.norm(whole.positions[:, :2], axis=1)
    assert len(capped.positions) == 100
    assert np.linalg.norm(capped.positions[:, :2], axis=1).max() == pytest.approx(np.sort(radii)[99])


def test_sample_i_is_a_function_of_seed_and_i():
    first, second, other = crops(7), crops(7), crops(8)
    first[3]  # what was asked for before must not matter
    for index in (0, 5, 123_456):
        a, b, c = first[index], second[index], other[index]
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(a.pyramid.levels[0].positions, b.pyramid.levels[0].positions)
        assert a.features.shape != c.features.shape or not np.array_equal(a.features, c.features)


def test_classes_are_drawn_by_their_weights():
    drawn = np.array([crops().center(i)[0] for i in range(600)])
    assert (drawn == 1).mean() == pytest.approx(0.5, abs=0.08)
    data = crops(class_weights={"b": 3.0}, center_jitter=0.0)
    centers = [data.center(i) for i in range(600)]
    assert np.mean([c[0] for c in centers]) == pytest.approx(0.75, abs=0.08)
    assert all((place[0] > 18) == (drawn == 1) for drawn, _, place in centers)


def test_clouds_are_drawn_by_their_shares():
    without_b = scene(seed=1)
    without_b = without_b.with_labels(np.minimum(without_b.labels, 0))
    data = crops(clouds=[scene(), without_b], shares=[1.0, 3.0], center_jitter=0.0)
    centers = [data.center(i) for i in range(600)]
    of_a = [cloud for drawn, cloud, _ in centers if drawn == 0]
    assert np.mean(of_a) == pytest.approx(0.75, abs=0.08)
    assert all(cloud == 0 for drawn, cloud, _ in centers if drawn == 1)
    assert all((place[0] > 18) == (drawn == 1) for drawn, cloud, place in centers if cloud == 0)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="class_weights: no class 'c'"):
        crops(class_weights={"c": 1.0})
    with pytest.raises(ValueError, match="feature_shift: no feature 'valu'; did you mean 'value'"):
        AugmentationSettings(feature_shift={"valu": 1.0}).check_names(["value"])


def test_augmentation_keeps_distances_up_to_its_scale():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = AugmentationSettings(scale=(0.9, 1.1)).transform(3, rng)
        scale = matrix[2, 2]
        assert 0.9 <= scale <= 1.1
        assert np.allclose(matrix @ matrix.T, scale**2 * np.eye(3))


def test_feature_changes_touch_only_their_channels():
    settings = AugmentationSettings(feature_dropout={"value": 1.0}, feature_shift={"height": 1.0})
    features = np.ones((5, 2), np.float32)
    _, changed = settings.change_points(
        np.zeros((5, 3), np.float32), features, ("height", "value"), np.random.default_rng(0)
    )
    assert (changed[:, 1] == 0).all()
    assert np.ptp(changed[:, 0]) == 0
    assert changed[0, 0] != 1
    assert (features == 1).all()


def test_covering_crops_contain_every_point():
    cloud = scene()
    covering = CoveringCrops([cloud], SETTINGS, PYRAMID, spacing=4.0 * 1.414)
    seen = np.unique(np.concatenate([covering[i][0].rows for i in range(len(covering))]))
    assert len(seen) == len(cloud)
    with pytest.raises(ValueError, match="spacing must be in"):
        CoveringCrops([cloud], SETTINGS, PYRAMID, spacing=4.0 * np.sqrt(2))  # rounding decides about corners


def test_votes_show_each_crop_turned():
    once, votes = (
        CoveringCrops([scene()], SETTINGS, PYRAMID, 4.0),
        CoveringCrops([scene()], SETTINGS, PYRAMID, 4.0, votes=4),
    )
    assert len(votes) == 4 * len(once)
    plain, _ = once[3]
    turns = [votes[index][0] for index in range(12, 16)]
    assert np.array_equal(turns[0].positions, plain.positions)
    for quarter, turned in enumerate(turns):
        assert np.array_equal(turned.rows, plain.rows)
        x, y, z = plain.point_positions.T
        for _ in range(quarter):
            x, y = -y, x
        assert np.abs(turned.point_positions - np.stack([x, y, z], axis=1)).max() < 1e-5
    with pytest.raises(ValueError, match="single axis"):
        CoveringCrops(
            [SETTINGS.prepare(PointCloud(np.zeros((3, 1)), {"value": np.zeros(3)}), "line", None)],
            SETTINGS,
            PYRAMID,
            4.0,
            votes=2,
        )


def test_batches_keep_crops_apart():
    data = crops()
    parts = [data[0], data[1]]
    batch = Batch.concatenate(parts)
    finest = batch.pyramid.levels[0]
    assert batch.pyramid.num_clouds == 2
    assert len(batch.labels) == len(finest.positions) == sum(len(p.labels) for p in parts)
    assert finest.batch.bincount().tolist() == [len(p.labels) for p in parts]


def test_a_share_of_the_points_is_kept():
    rows = np.arange(10_000)
    kept = AugmentationSettings(keep=(0.5, 0.5)).kept_rows(rows, np.random.default_rng(0))
    assert len(kept) == pytest.approx(5000, abs=200)
    assert np.array_equal(kept, np.unique(kept))
    assert len(AugmentationSettings(keep=(1e-9, 1e-9)).kept_rows(rows, np.random.default_rng(0))) == 1
    with pytest.raises(ValueError, match="two shares"):
        AugmentationSettings(keep=(0.0, 1.0))
    thinned = cut_crop(
        scene(), np.array([10.0, 10.0]), SETTINGS, AugmentationSettings(keep=(0.3, 0.4)), np.random.default_rng(1)
    )
    assert 0.25 < len(thinned.rows) / len(cut_crop(scene(), np.array([10.0, 10.0]), SETTINGS).rows) < 0.45

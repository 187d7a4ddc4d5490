"""Streamed crops: a function of seed and index, every cloud before any again, few in memory, a faithful cache."""

from pathlib import Path

import numpy as np
import pytest

from gridless.data import (
    DATA_SETS,
    AugmentationSettings,
    FeatureSettings,
    InputSettings,
    SamplerSettings,
    StreamedClouds,
    StreamedCrops,
    hold_out_files,
)
from gridless.pyramid import PyramidSettings
from tests.data.published import layouts

INPUTS = InputSettings(
    (FeatureSettings("rgb", scale=255.0), FeatureSettings("height")), voxel_size=0.3, crop_radius=1.0
)


@pytest.fixture
def data(tmp_path):
    return DATA_SETS["s3dis"](layouts.s3dis(tmp_path / "s3dis"))


def crops_of(clouds, augmentation=None, **sampler):
    settings = SamplerSettings(center_jitter=0.0, **sampler)
    names = clouds.data_set.labels.names
    return StreamedCrops(clouds, names, clouds.inputs, PyramidSettings(num_neighbors=4), settings, augmentation, 3, 40)


def clouds_of(data, **options):
    files = data.files("Area_1") + data.files("Area_5")
    return StreamedClouds(data, files, INPUTS, data.labels, **options)


def test_a_crop_is_a_function_of_seed_and_index(data):
    changes = AugmentationSettings(jitter=0.01)
    one, other = crops_of(clouds_of(data), changes), crops_of(clouds_of(data, points_kept=1), changes)
    for index in (5, 0, 17):
        first, second = one[index], other[index]
        assert np.array_equal(first.features, second.features)
        assert np.array_equal(first.pyramid.levels[0].positions, second.pyramid.levels[0].positions)
        assert np.array_equal(first.labels, second.labels)


def test_every_cloud_is_drawn_before_any_is_drawn_again(data):
    crops = crops_of(clouds_of(data), crops_per_cloud=2)
    drawn = [crops.cloud_of(index) for index in range(16)]
    assert drawn[::2] == drawn[1::2]
    assert sorted(drawn[:8:2]) == sorted(drawn[8::2]) == [0, 1, 2, 3]
    assert crops.origin(0)["file"] == str(crops.clouds.files[drawn[0]])


def test_crops_are_drawn_around_wanted_classes_only(data):
    unwanted = dict.fromkeys(data.labels.names, 0.0) | {"ceiling": 1.0}
    crops = crops_of(clouds_of(data), class_weights=unwanted)
    ceiling = data.labels.names.index("ceiling")
    for index in range(5):
        crop = crops.crop(index)
        nearest = np.linalg.norm(crop.point_positions[:, :2], axis=1).argmin()
        assert crops.clouds[crops.cloud_of(index)].labels[crop.rows[nearest]] == ceiling


def test_clouds_used_last_stay_and_others_are_read_again(data, monkeypatch):
    reads = []
    read = type(data).read
    monkeypatch.setattr(type(data), "read", lambda self, path: reads.append(path) or read(self, path))
    clouds = clouds_of(data, points_kept=3200)  # two rooms
    for index in (0, 1, 0, 2, 0, 1):
        assert len(clouds[index]) == 1600
    assert [clouds.files.index(path) for path in reads] == [0, 1, 2, 1]


def test_the_cache_holds_what_was_read(data, tmp_path):
    cache = tmp_path / "cache"
    first = clouds_of(data, cache=cache)[1]
    assert len(list(cache.iterdir())) == 1
    (data.files("Area_1")[1] / "Annotations" / "wall_1.txt").write_text("damaged")
    second = clouds_of(data, cache=cache)[1]
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.features, second.features)
    assert np.array_equal(first.labels, second.labels)


def test_objects_are_whole_with_one_label(tmp_path):
    data = DATA_SETS["modelnet40"](layouts.modelnet(tmp_path), num_points=100, num_classes=2)
    inputs = InputSettings((FeatureSettings("constant"),), voxel_size=0.001, crop_radius=3.0)
    clouds = StreamedClouds(data, data.files("train"), inputs, data.labels)
    crops = crops_of(clouds)
    for index in range(8):
        batch = crops[index]
        assert len(batch.features) > 95
        assert batch.labels.tolist() == [data.labels.names.index(data.stratum(Path(crops.origin(index)["file"])))]
    small = InputSettings((FeatureSettings("constant"),), voxel_size=0.001, crop_radius=0.2)
    with pytest.raises(ValueError, match=r"lie outside inputs\.crop_radius = 0\.2"):
        crops_of(StreamedClouds(data, clouds.files, small, data.labels)).crop(0)


def test_a_share_of_each_class_is_held_aside():
    files = [Path(f"{index}.off") for index in range(130)]
    strata = ["chair"] * 100 + ["sofa"] * 30
    groups = [file.stem for file in files]
    training, validation = hold_out_files(files, strata, groups, 0.1, seed=1)
    assert sorted(training + validation) == sorted(files)
    assert [strata[files.index(file)] for file in validation].count("chair") == 10
    assert len(validation) == 13
    assert hold_out_files(files, strata, groups, 0.1, seed=1) == (training, validation)
    assert hold_out_files(files, strata, groups, 0.1, seed=2)[1] != validation
    with pytest.raises(ValueError, match="two files, or groups of them, are needed"):
        hold_out_files(files[:1], strata[:1], groups[:1], 0.1, seed=1)


def test_groups_stay_on_one_side():
    files = [Path(f"{index}.off") for index in range(120)]
    strata, groups = ["walk"] * 60 + ["jump"] * 60, [str(index // 6) for index in range(120)]
    training, validation = hold_out_files(files, strata, groups, 0.2, seed=0)
    sides = [{groups[files.index(file)] for file in side} for side in (training, validation)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [16, 4]
    assert [strata[files.index(file)] for file in validation].count("walk") == 12

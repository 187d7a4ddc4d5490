"""Streamed crops: a function of seed and index, every cloud before any again, few in memory, a faithful cache."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gridless.cloud import PointCloud
from gridless.data import (
    DATA_SETS,
    AugmentationSettings,
    CloudCache,
    FeatureSettings,
    InputSettings,
    SamplerSettings,
    StreamedClouds,
    StreamedCrops,
    hold_out_files,
)
from gridless.errors import ReadError
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
    for index in (0, 5):
        origin, crop = crops.origin(index), crops.crop(index)
        assert origin["file"] == str(crops.clouds.files[drawn[index]])
        middle = crops.clouds[drawn[index]].horizontal[crop.rows].mean(axis=0)
        assert np.linalg.norm(middle - origin["center"]) < crops.inputs.crop_radius


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
    cache = CloudCache(tmp_path / "cache", 10**9)
    first = clouds_of(data, cache=cache)[1]
    assert len(list(cache.folder.iterdir())) == 1
    (data.files("Area_1")[1] / "Annotations" / "wall_1.txt").write_text("damaged")
    second = clouds_of(data, cache=cache)[1]
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.features, second.features)
    assert np.array_equal(first.labels, second.labels)


def numbered(number):
    return PointCloud(np.random.default_rng(number).random((1000, 3)))


def test_the_cache_is_bounded_and_what_was_used_last_stays(tmp_path):
    size = 24_500  # bytes of one of these clouds, about
    cache = CloudCache(tmp_path, 4 * size)
    for number in (0, 1, 2, 0, 3, 0, 4, 5, 0, 6):
        assert np.array_equal(
            cache.get(str(number), lambda n=number: numbered(n)).positions, numbered(number).positions
        )
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= cache.limit
    made = []
    for number in (0, 6, 1):
        cache.get(str(number), lambda n=number: made.append(n) or numbered(n))
    assert made == [1]


def test_a_damaged_or_removed_copy_is_made_again(tmp_path):
    cache = CloudCache(tmp_path, 10**9)
    cache.get("a", lambda: numbered(0))
    (copy,) = tmp_path.iterdir()
    copy.write_bytes(copy.read_bytes()[:500])
    assert len(cache.get("a", lambda: numbered(0))) == 1000
    assert len(cache.get("a", lambda: pytest.fail("it is there again"))) == 1000
    copy.unlink()
    assert len(cache.get("a", lambda: numbered(0))) == 1000


def test_a_full_disk_ends_the_cache_and_not_the_training(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gridless.data.cache.write", full)
    with pytest.warns(UserWarning, match="the cache keeps no more clouds"):
        assert len(CloudCache(tmp_path, 10**9).get("a", lambda: numbered(0))) == 1000


def test_processes_share_a_cache_that_is_too_small_for_them(tmp_path):
    code = """
import sys
from pathlib import Path
import numpy as np
from gridless.cloud import PointCloud
from gridless.data import CloudCache
cache, rng = CloudCache(Path(sys.argv[1]), 4 * 24_500), np.random.default_rng(int(sys.argv[2]))
for number in rng.integers(0, 8, 150).tolist():
    cloud = cache.get(str(number), lambda: PointCloud(np.full((1000, 3), float(number))))
    assert (cloud.positions == number).all(), number
"""
    words = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    processes = [subprocess.Popen([*words, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert not [file.name for file in tmp_path.iterdir() if file.suffix != ".npz" or file.name.startswith(".")]


def test_a_changed_file_is_read_again(data, tmp_path):
    file = tmp_path / "a.npz"
    reads = []

    class OneFile(type(data)):
        def read(self, path):
            reads.append(path)
            return super().read(data.files("Area_1")[0])

    clouds = StreamedClouds(
        OneFile(data.root), [file], INPUTS, data.labels, CloudCache(tmp_path / "cache", 10**9), points_kept=0
    )
    for content in ("one", "one", "another"):
        if not file.exists() or file.read_text() != content:
            file.write_text(content)
        clouds._kept.clear()
        assert len(clouds[0]) == 1600
    assert len(reads) == 2


def test_a_cloud_that_is_skipped_gives_way_to_the_next(data):
    bad = data.files("Area_1")[1]
    (bad / "Annotations" / "wall_1.txt").write_text("damaged")
    with pytest.raises(ReadError, match="--skip-bad leaves such files out"):
        [crops_of(clouds_of(data)).cloud_of(index) for index in range(8)]
    clouds = clouds_of(data, skip_bad=True)
    crops = crops_of(clouds)
    with pytest.warns(UserWarning, match="left out, as it cannot be read") as told:
        drawn = [crops.cloud_of(index) for index in range(16)]
    assert len(told) == 1
    assert clouds.files.index(bad) == 1
    assert set(drawn) == {0, 2, 3}
    backwards = crops_of(clouds_of(data, skip_bad=True))
    with pytest.warns(UserWarning, match="left out"):
        assert [backwards.cloud_of(index) for index in reversed(range(16))] == drawn[::-1]
    clouds._bad.update(range(4))
    with pytest.raises(ValueError, match="none of the 4 files can be read"):
        crops.cloud_of(0)


def test_shares_decide_how_often_a_cloud_is_drawn(data):
    crops = crops_of(clouds_of(data))
    shared = StreamedCrops(
        crops.clouds, data.labels.names, INPUTS, crops.pyramid, crops.sampler, None, 3, 40, shares=[6.0, 2.0, 0.0, 2.0]
    )
    drawn = np.bincount([shared.cloud_of(index) for index in range(400)], minlength=4)
    np.testing.assert_allclose(drawn / 400, [0.6, 0.2, 0.0, 0.2], atol=0.08)


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


def test_however_much_is_held_aside_something_is_left_to_learn_from():
    files = [Path(f"{number}.laz") for number in range(3)]
    training, validation = hold_out_files(files, [""] * 3, [file.stem for file in files], 0.99, seed=0)
    assert len(training) == 1
    assert len(validation) == 2

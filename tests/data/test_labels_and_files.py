"""Label maps, data entries, and the strips held aside for validation."""

import numpy as np
import pytest

from gridless import PointCloud
from gridless.data import (
    CloudVariant,
    FeatureSettings,
    InputSettings,
    LabelMap,
    find_files,
    hold_out_strips,
    on_relief,
    thinned,
)
from gridless.data.published import prepared_cloud


def test_labels_without_a_mapping_are_named_with_their_count():
    labels = LabelMap({"ground": [2], "plants": [3, 4]}, ignored=[1])
    with pytest.raises(ValueError, match=r"a\.laz: labels without a mapping: 7 \(3 points\), 9 \(1 points\).*ground"):
        labels.encode(np.array([2, 7, 7, 9, 7], np.uint8), "a.laz")


def test_round_trip_and_ignored():
    labels = LabelMap({"ground": [2], "plants": [3, 4]}, ignored=[1])
    classes = labels.encode(np.array([4.0, 2.0, 1.0]))
    assert classes.tolist() == [1, 0, -1]
    assert labels.decode(classes[:2]).tolist() == [3, 2]


def test_one_raw_label_in_two_places_is_refused():
    with pytest.raises(ValueError, match="raw label 2 belongs both to 'ground' and to 'road'"):
        LabelMap({"ground": [2], "road": [11, 2]})


def test_missing_label_column_names_those_present():
    with pytest.raises(ValueError, match=r"a\.ply: no label column 'classification'; this cloud has red"):
        LabelMap({"ground": [2]}).of_cloud(PointCloud(np.zeros((1, 3)), {"red": np.zeros(1)}), "a.ply")


def test_find_files(tmp_path, monkeypatch):
    for name in ("b.laz", "a.las", "notes.md", ".a-half-written.las"):
        (tmp_path / name).touch()
    monkeypatch.setenv("TILES", str(tmp_path))
    monkeypatch.delenv("NOWHERE", raising=False)
    assert [f.name for f in find_files(["."], tmp_path)] == ["a.las", "b.laz"]
    assert [f.name for f in find_files(["${TILES}/*.laz", "${NOWHERE:-.}/a.las"], tmp_path)] == ["b.laz", "a.las"]
    with pytest.raises(ValueError, match="environment variable NOWHERE is not set"):
        find_files(["${NOWHERE}/a.las"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file matches 'c\.laz'"):
        find_files(["c.laz"], tmp_path)


def test_strips_do_not_overlap_and_change_sides():
    rng = np.random.default_rng(0)
    settings = InputSettings((FeatureSettings("constant"),), 0.5, 5)
    clouds = [
        settings.prepare(PointCloud(rng.uniform(0, 10, (1000, 3))), str(i), np.zeros(1000, np.int64)) for i in range(4)
    ]
    training, validation = hold_out_strips(clouds, 0.2)
    for index, (kept, held) in enumerate(zip(training, validation, strict=True)):
        scored = held.positions[held.labels >= 0]
        assert len(kept) + len(scored) == 1000
        assert len(scored) == pytest.approx(200, abs=1)
        axis, sign = index // 2, 1 if index % 2 == 0 else -1
        assert (sign * kept.positions[:, axis]).max() < (sign * scored[:, axis]).min()


@pytest.mark.parametrize(("columns", "held"), [(3, 10), (20, 30), (1, 0)])
def test_the_strip_of_a_grid_is_at_least_its_last_line(columns, held):
    x, y = np.meshgrid(np.arange(columns), np.arange(10.0))
    positions = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    settings = InputSettings((FeatureSettings("constant"),), 0.5, 5)
    cloud = settings.prepare(PointCloud(positions), "grid", np.zeros(len(positions), np.int64))
    (training,), (validation,) = hold_out_strips([cloud], 0.15)
    assert (len(training), (validation.labels >= 0).sum()) == (10 * columns - held, held)


def test_variants_of_a_file_lose_the_same_strip():
    rng = np.random.default_rng(0)
    settings = InputSettings((FeatureSettings("constant"),), 0.5, 5)
    cloud = PointCloud(rng.uniform(0, 10, (2000, 3)))
    copies = [cloud, thinned(cloud, 5.0), thinned(cloud, 1.0), on_relief(cloud, 1)]
    prepared = [settings.prepare(copy, "one file", np.zeros(len(copy), np.int64)) for copy in copies]
    training, validation = hold_out_strips(prepared, 0.2)
    limit = min(held.positions[held.labels >= 0, 0].min() for held in validation)
    assert all(
        0 < len(kept) < len(copy) and kept.positions[:, 0].max() < limit
        for kept, copy in zip(training, copies, strict=True)
    )


def test_patterns_below_a_folder_with_brackets_in_its_name(tmp_path):
    folder = tmp_path / "site[1]"
    folder.mkdir()
    (folder / "a.ply").touch()
    assert find_files(["*.ply"], folder) == [folder / "a.ply"]
    assert find_files([str(tmp_path / "site*" / "*.ply")], tmp_path) == [folder / "a.ply"]


def test_a_cloud_with_nan_is_told_before_it_is_thinned():
    cloud = PointCloud([[0.0, 0, 0], [np.nan, 0, 0]], {"classification": [2, 2]})
    settings = InputSettings((FeatureSettings("constant"),), 0.5, 5)
    with pytest.raises(ValueError, match=r"scan\.ply.*NaN"):
        prepared_cloud(cloud, "scan.ply", settings, LabelMap({"ground": [2]}), CloudVariant(density=1.0))


def test_labels_that_are_nan_are_counted():
    with pytest.raises(ValueError, match=r"2 labels are NaN or infinite \(first: row 1\)"):
        LabelMap({"a": [1]}).encode([1.0, np.nan, np.inf])

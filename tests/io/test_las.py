import multiprocessing
import re

import laspy
import numpy as np
import pytest

import gridless.io as gio
from gridless.cloud import PointCloud
from gridless.errors import ReadError

SAMPLES = [
    "parser_samples/MixedConifer.laz",
    "parser_samples/ign_pf8_extra_dims.laz",
    "parser_samples/warsaw_small.las",
    "ign_lidarhd_dense/77055_627760.laz",
]


def assert_same(first: PointCloud, second: PointCloud):
    assert list(first.columns) == list(second.columns)
    np.testing.assert_array_equal(first.positions, second.positions)
    for name in first.columns:
        assert first[name].dtype == second[name].dtype, name
        assert first[name].tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_real_files_come_back_exactly(real_data, tmp_path, sample, suffix):
    source, target = real_data / sample, tmp_path / f"copy{suffix}"
    cloud = gio.read(source)
    gio.write(target, cloud)
    assert_same(cloud, gio.read(target))
    before, after = laspy.read(source), laspy.read(target)
    for name in ("X", "Y", "Z"):
        np.testing.assert_array_equal(before[name], after[name])
    assert before.point_format == after.point_format
    assert before.header.version == after.header.version
    np.testing.assert_array_equal(before.header.scales, after.header.scales)
    np.testing.assert_array_equal(before.header.offsets, after.header.offsets)

    def projection(las):
        return [(v.record_id, v.record_data_bytes()) for v in las.header.vlrs if v.user_id == "LASF_Projection"]

    assert projection(before) == projection(after) != []


def test_selected_rows_and_predicted_classes(real_data, tmp_path):
    cloud = gio.read(real_data / "parser_samples/ign_pf8_extra_dims.laz")
    chosen = cloud[cloud["return_number"] == 1]
    assert 0 < len(chosen) < len(cloud)
    labels = (np.arange(len(chosen)) % 7).astype(np.uint8)
    probabilities = np.random.default_rng(0).random((len(chosen), 4)).astype(np.float32)
    gio.write(tmp_path / "out.laz", chosen.with_columns(classification=labels, prob=probabilities))
    again = gio.read(tmp_path / "out.laz")
    np.testing.assert_array_equal(again["classification"], labels)
    np.testing.assert_array_equal(again["Infrared"], chosen["Infrared"])
    np.testing.assert_array_equal(np.stack([again[f"prob_{i}"] for i in range(4)], 1), probabilities)
    header = laspy.read(tmp_path / "out.laz").header
    assert header.point_count == len(chosen)
    assert header.number_of_points_by_return.sum() == len(chosen)
    np.testing.assert_array_equal(header.maxs, chosen.positions.max(axis=0))
    assert again.metadata["crs"] == cloud.metadata["crs"]
    assert cloud.metadata["las_header"].point_count == len(cloud), "the carried header was changed"


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_chunks_are_the_whole(tmp_path, cloud, suffix):
    path = tmp_path / f"a{suffix}"
    gio.write(path, cloud)
    with gio.open(path, chunk_size=7) as chunks:
        assert len(chunks) == chunks.num_points == 40
        for _ in range(2):
            parts = list(chunks)
            assert [len(part) for part in parts] == [7] * 5 + [5]
            assert_same(PointCloud.concatenate(parts), gio.read(path))


def test_new_header(tmp_path, cloud):
    extra = cloud.with_columns(
        vector=np.arange(120.0).reshape(40, 3), flag=np.arange(40) % 2 == 0, big=np.arange(40) + 2**40
    )
    gio.write(tmp_path / "a.las", extra)
    header = laspy.read(tmp_path / "a.las").header
    assert header.point_format.id == 6
    assert header.scales.tolist() == [0.001] * 3
    again = gio.read(tmp_path / "a.las")
    np.testing.assert_allclose(again.positions, cloud.positions, atol=1e-9, rtol=0)
    for name, values in extra.columns.items():
        np.testing.assert_array_equal(again[name], values)
    assert again["tree"].dtype == np.int32
    colors = {name: np.arange(40, dtype=np.uint16) for name in ("red", "green", "blue")}
    gio.write(tmp_path / "rgb.las", cloud.with_columns(**colors))
    assert laspy.read(tmp_path / "rgb.las").header.point_format.id == 7


def test_dropped_and_retyped_columns(tmp_path, cloud):
    gio.write(tmp_path / "a.las", cloud)
    again = gio.read(tmp_path / "a.las").without_columns("height").with_columns(tree=np.full(40, 0.5))
    gio.write(tmp_path / "b.las", again)
    final = gio.read(tmp_path / "b.las")
    assert "height" not in final
    assert final["tree"].dtype == np.float64
    assert set(final["tree"]) == {0.5}


def test_scaled_extra_dimension(tmp_path):
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.add_extra_dim(laspy.ExtraBytesParams("depth", "i2", scales=[0.01], offsets=[5.0]))
    las = laspy.LasData(header)
    las.x = las.y = las.z = np.arange(9.0)
    las.depth = np.arange(9) * 0.25 + 5
    las.write(tmp_path / "a.las")
    cloud = gio.read(tmp_path / "a.las")
    gio.write(tmp_path / "b.las", cloud)
    assert_same(cloud, gio.read(tmp_path / "b.las"))
    assert laspy.read(tmp_path / "b.las").point_format.dimension_by_name("depth").is_scaled
    gio.write(tmp_path / "c.las", cloud.with_columns(depth=np.full(9, np.pi)))
    np.testing.assert_array_equal(gio.read(tmp_path / "c.las")["depth"], np.full(9, np.pi))


def test_extended_records_survive(tmp_path, cloud):
    gio.write(tmp_path / "a.las", cloud)
    las = laspy.read(tmp_path / "a.las")
    las.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("somebody", 7, "note", b"x" * 70_000)])
    las.write(tmp_path / "b.las")
    for suffix in (".las", ".laz"):
        gio.write(tmp_path / f"c{suffix}", gio.read(tmp_path / "b.las"))
        (record,) = laspy.read(tmp_path / f"c{suffix}").evlrs
        assert (record.user_id, record.record_id, record.record_data) == ("somebody", 7, b"x" * 70_000)


def set_version(path, minor):
    content = bytearray(path.read_bytes())
    content[25] = minor
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("point_format", [0, 1])
def test_version_1_0_is_written_as_1_2(tmp_path, suffix, point_format):
    header = laspy.LasHeader(version="1.2", point_format=point_format)
    header.scales, header.offsets = [0.01, 0.02, 0.001], [100.0, 200.0, 0.0]
    header.system_identifier, header.file_source_id = "scanner", 7
    header.vlrs.append(laspy.VLR("somebody", 7, "note", b"kept"))
    header.extra_vlr_bytes = b"\xdd\xcc"  # version 1.0 has this mark before the points
    las = laspy.LasData(header)
    las.x = las.y = las.z = np.arange(9.0)
    las.classification = np.arange(9)
    las.write(tmp_path / "old.las")
    set_version(tmp_path / "old.las", 0)
    cloud = gio.read(tmp_path / "old.las")
    assert str(cloud.metadata["las_header"].version) == "1.0"
    gio.write(tmp_path / f"new{suffix}", cloud)
    assert_same(cloud, gio.read(tmp_path / f"new{suffix}"))
    header = laspy.read(tmp_path / f"new{suffix}").header
    assert (str(header.version), header.point_format.id) == ("1.2", point_format)
    assert (header.system_identifier, header.file_source_id, header.extra_vlr_bytes) == ("scanner", 7, b"\xdd\xcc")
    assert (header.scales.tolist(), header.offsets.tolist()) == ([0.01, 0.02, 0.001], [100.0, 200.0, 0.0])
    assert [record.record_data for record in header.vlrs if record.user_id == "somebody"] == [b"kept"]
    assert str(cloud.metadata["las_header"].version) == "1.0", "the carried header was changed"


def test_versions_that_cannot_be_written_are_told(tmp_path):
    header = laspy.LasHeader(version="1.2", point_format=3)
    laspy.LasData(header).write(tmp_path / "old.las")
    set_version(tmp_path / "old.las", 1)  # which has point formats 0 and 1
    target = tmp_path / "new.las"
    with pytest.raises(ValueError, match=rf"write {re.escape(str(target))}: laspy refuses it.* 3 is not compatible"):
        gio.write(target, gio.read(tmp_path / "old.las"))
    assert not target.exists()


@pytest.mark.parametrize("num_points", [0, 1])
@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_few_points(tmp_path, cloud, num_points, suffix):
    gio.write(tmp_path / f"a{suffix}", cloud[:num_points])
    again = gio.read(tmp_path / f"a{suffix}")
    assert len(again) == num_points
    assert set(cloud.columns) <= set(again.columns)


def test_what_does_not_fit_is_refused(real_data, tmp_path, cloud):
    old = gio.read(real_data / "parser_samples/warsaw_small.las")
    target = tmp_path / "a.las"
    with pytest.raises(ValueError, match=r"classification.*5-bit.*format 3, got 40"):
        gio.write(target, old.with_columns(classification=np.full(len(old), 40)))
    with pytest.raises(ValueError, match=r"intensity.*got 0\.5"):
        gio.write(target, cloud.with_columns(intensity=np.full(40, 0.5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        gio.write(target, PointCloud(np.full((2, 3), np.nan)))
    with pytest.raises(ValueError, match="scale= and offset="):
        gio.write(target, PointCloud(np.array([[0.0, 0, 0], [1e9, 0, 0]])))
    with pytest.raises(ValueError, match="'words'"):
        gio.write(target, cloud.with_columns(words=np.full(40, "a")))
    with pytest.raises(ValueError, match="3 coordinates"):
        gio.write(target, PointCloud(np.zeros((2, 2))))
    assert list(tmp_path.iterdir()) == []
    gio.write(target, PointCloud(np.array([[0.0, 0, 0], [1e9, 0, 0]])), scale=1.0)
    assert gio.read(target).positions[1, 0] == 1e9


def test_failed_write_keeps_the_old_file(tmp_path, cloud, monkeypatch):
    target = tmp_path / "a.laz"
    gio.write(target, cloud)
    before = target.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(laspy.LasWriter, "write_points", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gio.write(target, cloud)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_promised_points_that_are_not_there(tmp_path, cloud, suffix):
    path = tmp_path / f"a{suffix}"
    gio.write(path, cloud)
    data = bytearray(path.read_bytes())
    data[247:255] = (10**12).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(ReadError, match="1000000000000 points"):
        gio.read(path)


@pytest.mark.parametrize("sample", ["MixedConifer.laz", "warsaw_small.las"])
def test_cut_short(real_data, tmp_path, sample):
    data = (real_data / "parser_samples" / sample).read_bytes()
    path = tmp_path / sample
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="promises"):
        gio.read(path)


def _copy(source, target):
    gio.write(target, gio.read(source))


def test_a_forked_process_reads_and_writes_after_its_parent_has(tmp_path):
    cloud = PointCloud(np.random.default_rng(0).random((60_000, 3)))  # more than one chunk: several threads
    gio.write(tmp_path / "a.laz", cloud)
    _copy(tmp_path / "a.laz", tmp_path / "parent.laz")
    child = multiprocessing.get_context("fork").Process(target=_copy, args=(tmp_path / "a.laz", tmp_path / "child.laz"))
    child.start()
    child.join(30)
    child.kill()
    assert child.exitcode == 0
    assert_same(gio.read(tmp_path / "child.laz"), gio.read(tmp_path / "parent.laz"))

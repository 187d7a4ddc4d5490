import tempfile
import warnings
from pathlib import Path

import numpy as np
import plyfile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gridless.io as gio
from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.lzf import compress, decompress

FORMATS = [
    ("a.ply", {}),
    ("a.ply", {"ascii": True}),
    ("a.ply", {"byte_order": ">"}),
    ("a.pcd", {}),
    ("a.pcd", {"data": "ascii"}),
    ("a.pcd", {"data": "binary_compressed"}),
    ("a.npz", {}),
    ("a.npz", {"compressed": False}),
    ("a.csv", {}),
    ("a.txt", {}),
    ("a.xyz", {"delimiter": "\t"}),
    ("a.asc", {"delimiter": ";"}),
]


@st.composite
def clouds(draw):
    num_points, dim = draw(st.integers(0, 6)), draw(st.sampled_from([2, 3]))
    return PointCloud(
        draw(arrays(np.float64, (num_points, dim))),
        {
            "f": draw(arrays(np.float32, num_points)),
            "d": draw(arrays(np.float64, num_points)),
            "i": draw(arrays(np.int32, num_points)),
            "b": draw(arrays(np.uint8, num_points)),
        },
    )


@pytest.mark.parametrize(("name", "options"), FORMATS)
@given(cloud=clouds())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path, name, options, cloud):
    path = tmp_path / name
    gio.write(path, cloud, **options)
    again = gio.read(path)
    np.testing.assert_array_equal(again.positions, cloud.positions)
    assert list(again.columns) == list(cloud.columns)
    for column, values in cloud.columns.items():
        np.testing.assert_array_equal(again[column].astype(values.dtype), values, err_msg=column)
        if not isinstance(again[column].dtype.type(), (np.int64, np.float64)):  # text has only these two
            assert again[column].dtype == values.dtype
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_chunks_and_wide_columns(tmp_path, cloud, name, options):
    wide = cloud.with_columns(prob=np.arange(80.0).reshape(40, 2))
    gio.write(tmp_path / name, wide, **options)
    whole = gio.read(tmp_path / name)
    with gio.open(tmp_path / name, chunk_size=16) as chunks:
        parts = list(chunks)
    assert [len(part) for part in parts] == [16, 16, 8]
    joined = PointCloud.concatenate(parts)
    np.testing.assert_array_equal(joined.positions, cloud.positions)
    prob = joined["prob"] if "prob" in joined else np.stack([joined["prob_0"], joined["prob_1"]], 1)
    np.testing.assert_array_equal(prob, wide["prob"])
    assert list(whole.columns) == list(joined.columns)


@given(data=st.binary(max_size=3000) | st.lists(st.sampled_from([b"abc", b"\0" * 300, b"xy"])).map(b"".join))
def test_lzf_round_trip(data):
    assert decompress(compress(data), len(data)) == data


@pytest.mark.parametrize(
    "stream", [b"\x05ab", b"\x20", b"\x20\x00", b"\x00a\xe0\x05", b"\x00a\x20\x00" * 9], ids=lambda s: s.hex()
)
def test_lzf_damage(stream):
    with pytest.raises(ValueError, match="compressed data"):
        decompress(stream, 8)


def test_lzf_known_stream():
    assert decompress(b"\x02abc\x80\x02", 9) == b"abcabcabc"


def test_ply_with_faces(tmp_path):
    vertex = np.array([(0, 0, 0, 5), (1, 0, 0, 6), (0, 1, 0, 7)], [(n, "f4") for n in "xyz"] + [("label", "u2")])
    face = np.array([([0, 1, 2],)], [("vertex_indices", "i4", (3,))])
    elements = [plyfile.PlyElement.describe(face, "face"), plyfile.PlyElement.describe(vertex, "vertex")]
    plyfile.PlyData(elements, byte_order=">").write(str(tmp_path / "a.ply"))
    assert gio.read(tmp_path / "a.ply")["label"].tolist() == [5, 6, 7]


def test_pcd_fields_in_any_order_with_padding(tmp_path):
    text = (
        "VERSION 0.7\nFIELDS label _ y fpfh x z\nSIZE 1 1 4 4 4 4\nTYPE U U F F F F\nCOUNT 1 3 1 2 1 1\n"
        "WIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\nDATA ascii\n9 0 0 0 2 7 8 1 3\n8 0 0 0 5 nan 1 4 6\n"
    )
    (tmp_path / "a.pcd").write_text(text)
    cloud = gio.read(tmp_path / "a.pcd")
    assert cloud.positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert list(cloud.columns) == ["label", "fpfh"]
    np.testing.assert_array_equal(cloud["fpfh"], [[7, 8], [np.nan, 1]])
    (tmp_path / "b.pcd").write_text(
        text.replace("POINTS 2", "POINTS 2000000000").replace("WIDTH 2", "WIDTH 2000000000")
    )
    with pytest.raises(ReadError, match="2000000000 points"):
        gio.read(tmp_path / "b.pcd")


@pytest.mark.parametrize("layout", ["beside", "sequence"])
def test_kitti_labels(tmp_path, layout):
    folder = tmp_path if layout == "beside" else tmp_path / "velodyne"
    labels = tmp_path if layout == "beside" else tmp_path / "labels"
    folder.mkdir(exist_ok=True)
    labels.mkdir(exist_ok=True)
    columns = {
        "intensity": np.array([0.25, 1.0], np.float32),
        "label": np.array([3, 40]),
        "instance": np.array([0, 7]),
    }
    gio.write(folder / "1.bin", PointCloud(np.array([[1.5, 2, 3], [4, 5, 6]]), columns))
    assert np.fromfile(labels / "1.label", "<u4").tolist() == [3, 7 << 16 | 40]
    again = gio.read(folder / "1.bin")
    assert again.positions.tolist() == [[1.5, 2, 3], [4, 5, 6]]
    for name, values in columns.items():
        np.testing.assert_array_equal(again[name], values)
    with pytest.raises(ValueError, match="no column 'label'"):
        gio.write(folder / "1.bin", again.without_columns("label"))
    with pytest.raises(ValueError, match=r"'label'.*got -1"):
        gio.write(folder / "1.bin", again.with_columns(label=np.array([-1, 2])))
    (labels / "1.label").write_bytes(bytes(12))
    with pytest.raises(ReadError, match=r"3 labels.*2 points"):
        gio.read(folder / "1.bin")
    (folder / "2.bin").write_bytes(bytes(17))
    with pytest.raises(ReadError, match="17 bytes"):
        gio.read(folder / "2.bin")
    (folder / "3.bin").write_bytes(b"")
    assert len(gio.read(folder / "3.bin")) == 0


def test_kitti_refuses_positions_that_float32_would_shift(tmp_path):
    far = PointCloud(np.array([[639_000.1, 6_200_000.2, 12.0], [np.nan, 0, 0]]))
    with pytest.raises(ValueError, match=r"a\.bin.*up to 0\.2.*subtract an origin.*\.las or \.ply"):
        gio.write(tmp_path / "a.bin", far)
    with pytest.raises(ValueError, match="up to inf"):
        gio.write(tmp_path / "a.bin", PointCloud(np.full((1, 3), 1e300)))
    assert list(tmp_path.iterdir()) == []
    near = PointCloud(np.array([[15_000.123, -15_000.456, np.inf]]))
    gio.write(tmp_path / "a.bin", near)
    np.testing.assert_allclose(gio.read(tmp_path / "a.bin").positions, near.positions, atol=1e-3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("suffix", ["bin", "label"])
def test_a_full_disk_is_told_when_a_kitti_scan_is_written(tmp_path, monkeypatch, suffix):
    make = tempfile.mkstemp

    def full(**options):
        handle, name = make(**options)
        if name.endswith(suffix):
            Path(name).unlink()
            Path(name).symlink_to("/dev/full")
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OSError, match="the disk is full"):
        gio.write(tmp_path / "a.bin", PointCloud(np.zeros((5000, 3)), {"label": np.zeros(5000, int)}))
    assert list(tmp_path.iterdir()) == []


def test_npz_names_and_pickles(tmp_path):
    np.savez(tmp_path / "a.npz", pos=np.zeros((3, 3), np.float32), rgb=np.ones((3, 3)), classes=np.arange(9))
    cloud = gio.read(tmp_path / "a.npz")
    assert list(cloud.columns) == ["rgb"]
    assert cloud.metadata["other_arrays"] == ["classes"]
    np.savez(tmp_path / "b.npz", points=np.array([{}, {}, {}]).reshape(3, 1))
    with pytest.raises(ReadError, match=r"b\.npz"):
        gio.read(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", other=np.zeros(3))
    with pytest.raises(ReadError, match="has no array positions"):
        gio.read(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.xyz", "1 2 3 0.5\n4 5 6 7\n", {"column_3": [0.5, 7.0]}),
        ("a.xyz", "# a comment\n\n1 2 3 9 # end\n4 5 6 8\n", {"column_3": [9, 8]}),
        ("a.csv", '"label","X","Y","Z"\n2,1,2,3\n3,4,5,6\n', {"label": [2, 3]}),
        ("a.csv", "//X;Y;Z;R\n1;2;3;1\n4;5;6;0.5\n", {"R": [1.0, 0.5]}),
        ("a.txt", "1\t2\t3\t-1\n4\t5\t6\t1\n", {"column_3": [-1, 1]}),
        ("a.pts", "2\n1 2 3 255\n4 5 6 0\n", {"column_3": [255, 0]}),
        ("a.csv", "east,north,up,N/A\n1,2,3,1\n4,5,6,2\n", {"N/A": [1, 2]}),
        ("a.csv", "x,y,z,0\n1,2,3,1\n4,5,6,2\n", {"0": [1, 2]}),
        (
            "a.csv",
            "x,y,z,time,low\n1,2,3,1700000000123456789,-9223372036854775808\n4,5,6,1,0\n",
            {"time": [1700000000123456789, 1], "low": [-(2**63), 0]},
        ),
        ("a.csv", "x,y,z,big\n1,2,3,1\n4,5,6,9223372036854775808\n", {"big": [1.0, 2.0**63]}),
    ],
)
def test_text_dialects(tmp_path, name, text, columns):
    (tmp_path / name).write_text(text)
    cloud = gio.read(tmp_path / name)
    assert cloud.positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert {key: values.tolist() for key, values in cloud.columns.items()} == columns
    for key, values in columns.items():
        assert cloud[key].dtype.kind == ("i" if isinstance(values[0], int) else "f")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,y,z\n1,2,3\n\n1,two,3\n", r"'two' is not a number \(at line 4\)"),
        ("a.txt", "1 2 3\n4 5\n", r"2 values, expected 3 \(at line 2\)"),
        ("a.pts", "5\n1 2 3\n", "promises 5 points, the file has 1"),
        ("a.txt", "1\n2\n", "at least two columns"),
        ("a.csv", "x,y,z,x\n1,2,3,4\n", "more than once"),
        ("a.txt", "# nothing\n", "empty"),
        ("a.csv", "1.0,2.0,3.0,N/A\n1,2,3,4\n", r"'N/A' is not a number \(at line 1\)"),
    ],
)
def test_bad_text(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ReadError, match=message):
        gio.read(tmp_path / name)


@pytest.fixture
def numpy_that_cuts_fractions(monkeypatch):
    """np.loadtxt as before 2.3: a fraction in a column of integers is cut off, with a warning that few users see."""
    new = np.loadtxt

    def old(rows, dtype, **options):
        try:
            return new(rows := list(rows), dtype, **options)
        except ValueError as error:
            try:
                warnings.warn(
                    "loadtxt(): Parsing an integer via a float is deprecated.", DeprecationWarning, stacklevel=2
                )
            except DeprecationWarning:
                raise error from None
            return new(rows, [(name, np.float64) for name in dtype.names], **options).astype(dtype)

    monkeypatch.setattr(np, "loadtxt", old)


def _read_as_users_do(path):
    """Without pytest's filter, which makes every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gio.read(path)


@pytest.mark.usefixtures("numpy_that_cuts_fractions")
def test_fractions_after_an_integer_in_text(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z,r\n1,2,3,0\n1,2,3,0.75\n1,2,3,1.5\n")
    assert _read_as_users_do(tmp_path / "a.csv")["r"].tolist() == [0, 0.75, 1.5]


@pytest.mark.usefixtures("numpy_that_cuts_fractions")
def test_fraction_in_an_integer_field_of_pcd(tmp_path):
    (tmp_path / "a.pcd").write_text(
        "FIELDS x y z label\nSIZE 4 4 4 4\nTYPE F F F I\nWIDTH 1\nHEIGHT 1\nPOINTS 1\nDATA ascii\n1 2 3 2.75\n"
    )
    with pytest.raises(ReadError, match=r"'2\.75'"):
        _read_as_users_do(tmp_path / "a.pcd")


@pytest.mark.parametrize("words", [["1", "2"], ["a", "b"]])
def test_pcd_refuses_strings(tmp_path, words):
    with pytest.raises(ValueError, match="PCD cannot hold column 'word' of dtype <U1"):
        gio.write(tmp_path / "a.pcd", PointCloud(np.zeros((2, 3)), {"word": np.array(words)}))


def test_real_files(real_data):
    ply = gio.read(real_data / "cgal/b9_training.ply")
    assert len(ply) == 22_300
    assert set(np.unique(ply["label"])) == {-1, 0, 1, 2}
    assert ply.positions.dtype == np.float64
    assert ply.positions[:, 0].min() > 596_000
    pcd = gio.read(real_data / "parser_samples/modelnet_bathtub_0107.pcd")
    assert pcd.positions.shape == (1024, 3)
    scan = gio.read(real_data / "semantickitti_scan/000000.bin")
    assert len(scan) == 123_389
    assert scan["label"].max() < 260
    assert scan["instance"].max() > 0

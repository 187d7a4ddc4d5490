"""Files written in parts are those written whole."""

import laspy
import numpy as np
import pytest

import gridless as gl
from gridless.io import can_stream_to, create


@pytest.mark.parametrize("suffix", [".las", ".laz", ".ply"])
@pytest.mark.parametrize("part", [1, 17, 40])
def test_parts_make_the_same_file(cloud, tmp_path, suffix, part):
    cloud = cloud.with_columns(five=np.arange(200.0).reshape(40, 5), pair=np.arange(80, dtype=np.int16).reshape(40, 2))
    # LAS takes the zero of its coordinates from the first part.
    cloud.positions[0] = cloud.positions.min(axis=0)
    gl.write(tmp_path / f"whole{suffix}", cloud)
    with create(tmp_path / f"parts{suffix}", 40) as append:
        for start in range(0, 40, part):
            append(cloud[start : start + part])
    whole, parts = gl.read(tmp_path / f"whole{suffix}"), gl.read(tmp_path / f"parts{suffix}")
    assert np.array_equal(whole.positions, parts.positions)
    assert list(whole.columns) == list(parts.columns)
    for name, values in whole.columns.items():
        assert np.array_equal(values, parts[name])
        assert values.dtype == parts[name].dtype
    if "las_header" in whole.metadata:
        for name in ("point_count", "mins", "maxs", "scales", "offsets"):
            assert np.array_equal(*(getattr(c.metadata["las_header"], name) for c in (whole, parts)))


@pytest.mark.parametrize("suffix", [".las", ".ply"])
def test_a_file_that_misses_points_is_not_made(cloud, tmp_path, suffix):
    with pytest.raises(ValueError, match="was to get 41 points and got 40"), create(tmp_path / f"x{suffix}", 41) as add:
        add(cloud)
    assert not list(tmp_path.iterdir())


def _points(**columns):
    return gl.PointCloud(np.zeros((2, 3)), {name: np.array(values) for name, values in columns.items()})


def _write_in_parts(path, *clouds):
    with create(path, sum(map(len, clouds))) as append:
        for cloud in clouds:
            append(cloud)


@pytest.mark.parametrize("suffix", [".las", ".laz", ".ply"])
def test_columns_of_later_parts_are_matched_by_name(tmp_path, suffix):
    first = _points(a=np.uint8([1, 2]), b=np.float32([0.5, np.nan]))
    later = _points(b=np.float64([np.nan, 2.5]), a=[255, 0])
    _write_in_parts(tmp_path / f"x{suffix}", first, later)
    again = gl.read(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(again["a"], [1, 2, 255, 0])
    np.testing.assert_array_equal(again["b"], [0.5, np.nan, np.nan, 2.5])


@pytest.mark.parametrize("suffix", [".las", ".laz", ".ply"])
@pytest.mark.parametrize(
    ("first", "later", "problem"),
    [
        ({"a": [1, 2], "b": [3, 4]}, {"b": [3, 4]}, "lacks 'a'"),
        ({"a": [1, 2]}, {"a": [1, 2], "c": [3, 4]}, "adds 'c'"),
        ({"a": [1, 2]}, {"b": [1, 2]}, "lacks 'a' and adds 'b'"),
        ({"a": np.uint8([1, 2])}, {"a": [1, 300]}, r"'a' is uint8 .* not hold 300"),
        ({"a": np.uint8([1, 2])}, {"a": np.int8([1, -1])}, r"'a' is uint8 .* not hold -1"),
        ({"a": np.int8([1, 2])}, {"a": np.uint8([1, 255])}, r"'a' is int8 .* not hold 255"),
        ({"a": np.int32([1, 2])}, {"a": [1.0, 3.5]}, r"'a' is int32 .* not hold 3\.5"),
        ({"a": np.int32([1, 2])}, {"a": [1.0, 4e12]}, r"'a' is int32 .* not hold 4000000000000\.0"),
        ({"a": np.int32([1, 2])}, {"a": [1.0, np.nan]}, r"'a' is int32 .* not hold nan"),
        ({"a": np.float32([1, 2])}, {"a": np.int32([1, 2**24 + 1])}, r"'a' is float32 .* not hold 16777217"),
    ],
)
def test_a_part_that_does_not_fit_the_first_is_refused(tmp_path, suffix, first, later, problem):
    with pytest.raises(ValueError, match=rf"x\{suffix}: .*{problem}"):
        _write_in_parts(tmp_path / f"x{suffix}", _points(**first), _points(**later))
    assert not list(tmp_path.iterdir())


def test_a_part_beyond_the_integers_of_ply_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.ply: .*'a' .*32-bit"):
        _write_in_parts(tmp_path / "x.ply", _points(a=[1, 2]), _points(a=[1, 2**40]))


@pytest.mark.parametrize(
    ("later", "problem"),
    [({"depth": [1.0, 9999.0]}, r"1\.0 to 9999\.0"), ({"classification": [0, 0]}, "lacks 'depth'")],
)
def test_a_part_beyond_a_scaled_dimension_of_las_is_refused(tmp_path, later, problem):
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.add_extra_dim(laspy.ExtraBytesParams("depth", "i2", scales=[0.01], offsets=[0.0]))
    first = gl.PointCloud(np.zeros((2, 3)), {"depth": np.array([0.5, 1])}, {"las_header": header})
    with pytest.raises(ValueError, match=rf"x\.las: .*{problem}"):
        _write_in_parts(tmp_path / "x.las", first, _points(**later))


def test_a_part_with_other_vectors_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.las: .*'a'.*\(2,\).*\(3,\)"):
        _write_in_parts(tmp_path / "x.las", _points(a=np.ones((2, 2))), _points(a=np.ones((2, 3))))


@pytest.mark.parametrize("suffix", [".las", ".laz", ".ply"])
def test_no_points_and_no_part_make_an_empty_file(tmp_path, suffix):
    with create(tmp_path / f"x{suffix}", 0):
        pass
    assert gl.read(tmp_path / f"x{suffix}").positions.shape == (0, 3)


def test_other_formats_say_so(tmp_path):
    assert not can_stream_to("x.npz")
    with pytest.raises(ValueError, match=r"\.npz is not written in parts"):
        create(tmp_path / "x.npz", 1)

"""Files written in parts are those written whole."""

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


def test_other_formats_say_so(tmp_path):
    assert not can_stream_to("x.npz")
    with pytest.raises(ValueError, match=r"\.npz is not written in parts"):
        create(tmp_path / "x.npz", 1)

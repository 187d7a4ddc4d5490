"""Points per square unit of covered ground, of files."""

import numpy as np
import pytest

import gridless as gl
from gridless.prediction import ground_density


def square(density, size=100.0, origin=0.0):
    positions = np.random.default_rng(0).random((round(density * size**2), 3)) * [size, size, 5] + [origin, origin, 0]
    return gl.PointCloud(positions)


@pytest.mark.parametrize("suffix", ["laz", "las", "npz", "ply"])
def test_density_of_one_file(tmp_path, suffix):
    gl.write(tmp_path / f"a.{suffix}", square(0.5))
    assert ground_density([tmp_path / f"a.{suffix}"], enough=1.0) == pytest.approx(0.5, rel=0.15)


def test_empty_ground_between_strips_does_not_count(tmp_path):
    both = gl.PointCloud.concatenate([square(4.0), square(4.0, origin=900.0)])
    gl.write(tmp_path / "corners.laz", both)
    assert ground_density([tmp_path / "corners.laz"], enough=1.0) == pytest.approx(4.0, rel=0.15)


def test_files_count_by_their_ground(tmp_path):
    gl.write(tmp_path / "a.laz", square(0.2))
    gl.write(tmp_path / "b.laz", square(0.8, origin=200.0))
    found = ground_density([tmp_path / "a.laz", tmp_path / "b.laz"], enough=1.0)
    assert found == pytest.approx(0.5, rel=0.25)


def test_no_points_are_no_density(tmp_path):
    gl.write(tmp_path / "none.laz", square(1.0)[:0])
    assert ground_density([tmp_path / "none.laz"], enough=1.0) == 0.0
    assert ground_density([], enough=1.0) == 0.0


@pytest.mark.filterwarnings("error")
def test_points_that_are_nowhere_do_not_count_as_ground(tmp_path):
    cloud = square(0.5)
    cloud.positions[7] = np.nan
    gl.write(tmp_path / "nan.npz", cloud)
    assert ground_density([tmp_path / "nan.npz"], enough=1.0) == pytest.approx(0.5, rel=0.15)
    gl.write(tmp_path / "line.npz", gl.PointCloud(np.arange(1000.0)[:, None]))
    assert ground_density([tmp_path / "line.npz"], enough=1.0) == pytest.approx(1.0, rel=0.05)

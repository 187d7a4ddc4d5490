"""The networks that come with the package: small enough to ship, and right about a simple town."""

from pathlib import Path

import numpy as np
import pytest

import gridless as gl
from gridless.cli.main import main
from gridless.cli.model_argument import model_file
from gridless.models import PRETRAINED, pretrained_file

GROUND, TREE, BUILDING = 2, 3, 6


def town(density):
    """Flat ground of 80 x 80 m with four houses of 14 x 14 x 7 m and trees of 10 m between them."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 80, (int(density * 80**2), 2))
    kinds, heights = np.full(len(xy), GROUND), rng.normal(0, 0.03, len(xy))
    returns = np.ones((len(xy), 2), np.uint8)
    for x in (20, 60):
        for y in (15, 65):
            roof = (np.abs(xy - [x, y]) < 7).all(axis=1)
            kinds[roof], heights[roof] = BUILDING, 7 + rng.normal(0, 0.03, roof.sum())
        crown = np.linalg.norm(xy - [x, 40], axis=1) < 5
        kinds[crown], heights[crown] = TREE, rng.uniform(3, 10, crown.sum())
        returns[crown] = np.column_stack([rng.integers(1, 3, crown.sum()), np.full(crown.sum(), 3)])
    columns = {"return_number": returns[:, 0], "number_of_returns": returns[:, 1]}
    positions = np.column_stack([xy, heights]) + np.array([652_000, 6_862_000, 100])
    return gl.PointCloud(positions, columns), kinds


@pytest.fixture(scope="module")
def airborne():
    return gl.load_model(pretrained_file("airborne_dense"))


@pytest.mark.parametrize("name", PRETRAINED)
def test_small_enough_to_ship_and_without_paths_of_the_training_machine(name):
    path = pretrained_file(name)
    assert sum(pretrained_file(each).stat().st_size for each in PRETRAINED) < 4e6
    assert path.with_suffix(".md").is_file()
    header = path.read_bytes()[:20_000].decode("latin-1")
    assert "/home" not in header
    assert "/tmp" not in header


@pytest.mark.parametrize("density", [1.0, 8.0])
def test_a_town_is_labelled_at_any_density_without_intensity(airborne, density):
    cloud, truth = town(density)
    found = gl.predict(airborne, cloud)["label"]
    for kind in (GROUND, TREE, BUILDING):
        assert (found[truth == kind] == kind).mean() > 0.8, kind


def test_clouds_without_returns_are_labelled(airborne):
    cloud, truth = town(4.0)
    found = gl.predict(airborne, gl.PointCloud(cloud.positions))["label"]
    assert (found[truth == GROUND] == GROUND).mean() > 0.8


def test_predict_needs_no_model(tmp_path):
    cloud, truth = town(1.0)
    gl.write(tmp_path / "scan.laz", cloud)
    assert main(["predict", str(tmp_path / "scan.laz"), "-o", str(tmp_path / "out.laz")]) == 0
    found = gl.read(tmp_path / "out.laz")["classification"]
    assert (found == truth).mean() > 0.8


def test_a_sparse_town_is_labelled_by_the_network_for_sparse_clouds(tmp_path):
    cloud, truth = town(0.4)
    gl.write(tmp_path / "scan.laz", cloud)
    assert main(["predict", str(tmp_path / "scan.laz"), "-o", str(tmp_path / "out.laz")]) == 0
    expected = gl.predict(gl.load_model(pretrained_file("airborne_sparse")), gl.read(tmp_path / "scan.laz"))
    found = gl.read(tmp_path / "out.laz")["classification"]
    assert np.array_equal(found, expected["classification"])
    for kind in (GROUND, TREE, BUILDING):
        assert (found[truth == kind] == kind).mean() > 0.7, kind


def test_airborne_means_the_network_that_suits_the_files(tmp_path):
    for name, density in (("sparse.laz", 0.4), ("dense.laz", 4.0), ("dense.npz", 4.0)):
        gl.write(tmp_path / name, town(density)[0])
    assert model_file(Path("airborne"), [str(tmp_path / "sparse.laz")]).name == "airborne_sparse.safetensors"
    for name in ("dense.laz", "dense.npz"):
        assert model_file(Path("airborne"), [str(tmp_path / name)]).name == "airborne_dense.safetensors"
    assert model_file(Path("airborne_sparse"), [str(tmp_path / "dense.laz")]).name == "airborne_sparse.safetensors"
    assert model_file(Path("airborne")).name == "airborne_dense.safetensors"


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be one of airborne_dense, airborne_sparse"):
        pretrained_file("indoor")

"""Scores of a place at other densities, on a simulated tile in the place of the real ones."""

import gridless as gl
from benchmarks import thinned_place
from gridless.data.simulation import simulate_airborne_lidar
from gridless.models import pretrained_file


def test_networks_by_name_and_by_file_are_scored_on_the_same_points(tmp_path, monkeypatch, capsys):
    tile = simulate_airborne_lidar(3, size=(40.0, 40.0), density=4.0)
    folder = tmp_path / "ign_lidarhd_dense"
    folder.mkdir()
    known = tile["classification"]
    gl.write(folder / "77050_1.laz", tile[(known == 2) | (known == 5) | (known == 6)])
    monkeypatch.setenv("GRIDLESS_DATA", str(tmp_path))
    models = ["airborne_sparse", str(pretrained_file("airborne_sparse"))]
    monkeypatch.setattr(
        "sys.argv", ["thinned_place", *models, "--density", "0.2", "--draws", "2", "--without", "intensity"]
    )
    assert thinned_place.main() == 0
    header, _, by_name, by_file = capsys.readouterr().out.splitlines()
    assert "mIoU" in header
    assert by_name.split("|")[2:] == by_file.split("|")[2:]
    assert 0 < float(by_name.split("|")[2]) <= 1

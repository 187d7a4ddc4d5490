import numpy as np
import pytest

import gridless.io as gio
from gridless.cli.info import MOST_DISTINCT, Summary, info
from gridless.cloud import PointCloud
from gridless.errors import ReadError


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_las(tmp_path, capsys):
    grid = np.stack(np.meshgrid(np.arange(11), np.arange(11)), axis=-1).reshape(-1, 2)
    positions = np.column_stack([grid + np.array([600_000.0, 5_000_000.0]), np.zeros(121)])
    classes = np.where(np.arange(121) < 100, 2, 6).astype(np.uint8)
    gio.write(tmp_path / "a.laz", PointCloud(positions, {"classification": classes, "height": np.arange(121.0)}))
    assert info([tmp_path / "a.laz", tmp_path / "a.laz"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("LAZ 1.4, point format 6") == 2
    for expected in (
        "points   121",
        "x        600000.000 to 600010.000 (10.000)",
        "density  1.21 points per m²",
        "2 ground: 100 (82.6%)",
        "6 building: 21 (17.4%)",
    ):
        assert expected in printed
    assert "crs" not in printed


@pytest.mark.parametrize("num_points", [0, 1])
def test_few_points(tmp_path, capsys, num_points):
    gio.write(tmp_path / "a.ply", PointCloud(np.zeros((num_points, 3)), {"label": np.zeros(num_points, np.uint8)}))
    assert info([tmp_path / "a.ply"]) == 0
    printed = capsys.readouterr().out
    assert f"points   {num_points}" in printed
    assert "density" not in printed
    assert "label" in printed


def test_summary_over_chunks_is_that_of_the_whole():
    values = np.random.default_rng(0).integers(-5, 12, 1000)
    summary = Summary("int64")
    for part in np.array_split(values, 7):
        summary.add(part)
    assert (summary.smallest, summary.largest) == (values.min(), values.max())
    distinct, counts = np.unique(values, return_counts=True)
    assert summary.counts == dict(zip(distinct.tolist(), counts.tolist(), strict=True))
    for first in range(0, 3 * MOST_DISTINCT, 10):
        summary.add(np.arange(first, first + 10))
    assert summary.counts is None


def test_not_a_number_is_left_out_of_the_range():
    summary = Summary("float32")
    summary.add(np.array([np.nan, 2.0, -1.0], np.float32))
    assert (summary.smallest, summary.largest, summary.counts) == (-1.0, 2.0, None)


def test_damaged_file(tmp_path):
    (tmp_path / "a.ply").write_bytes(b"no")
    with pytest.raises(ReadError, match="not a PLY file"):
        info([tmp_path / "a.ply"])


def test_reference_system_of_a_real_file(real_data, capsys):
    samples = real_data / "parser_samples"
    info([samples / "ign_pf8_extra_dims.laz", samples / "MixedConifer.laz"])
    printed = capsys.readouterr().out
    assert "crs      RGF93 / Lambert-93" in printed
    assert "crs      EPSG:26912" in printed
    assert "17 bridge deck: 140" in printed

"""Files labelled tile by tile get what the whole cloud would get, whatever happens in between."""

import errno
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import gridless as gl
from gridless.cli.main import main
from gridless.data import COMPUTED_FEATURES, FeatureSettings, computed_feature
from gridless.io import open as open_file
from gridless.prediction import bytes_of, neighbors_of, predict_file
from gridless.prediction.large import job, ledger, predict_in_tiles
from gridless.prediction.large.scoring import TileScorer
from gridless.prediction.large.tiles import cut_tiles
from gridless.prediction.memory import points_in

UTM = np.array([652_000.0, 6_862_000.0, 120.0])
FEATURES = [
    FeatureSettings("height", scale=3.0),
    FeatureSettings("height_above_ground", options={"window": 9.0}),
    FeatureSettings("height_above_lowest"),
    FeatureSettings("local_density", options={"radius": 1.0}),
    FeatureSettings("planarity", options={"k": 8}),
    FeatureSettings("intensity", transform="robust"),
    FeatureSettings("return_ratio"),
]


def scene(num_points=6000, size=40.0, seed=0, order="random"):
    rng = np.random.default_rng(seed)
    positions = np.round(rng.uniform(0, 1, (num_points, 3)) * [size, size, 4], 3) + UTM
    if order == "strips":
        positions = positions[np.lexsort(np.floor(positions[:, :2] / 5).T)]
    returns = rng.integers(1, 4, num_points).astype(np.uint8)
    return gl.PointCloud(
        positions,
        {
            "intensity": rng.integers(0, 4000, num_points).astype(np.uint16),
            "return_number": np.minimum(returns, 2),
            "number_of_returns": np.full(num_points, 3, np.uint8),
            "classification": np.zeros(num_points, np.uint8),
        },
    )


def probabilities_of(cloud):
    return np.column_stack([cloud[f"probability_{name}"] for name in ("ground", "tree", "house")])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(job, "POINTS_AT_A_TIME", 700)


@pytest.mark.parametrize(("suffix", "order"), [(".las", "random"), (".laz", "strips"), (".ply", "strips")])
def test_tiles_give_what_the_whole_cloud_gives(model_of, tmp_path, suffix, order):
    model = model_of(*FEATURES)
    model.metadata["temperature"] = 0.5
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    gl.write(source, scene(order=order))
    cloud = gl.read(source)
    predict_in_tiles(model, source, target, points_in_memory=2500, probabilities=True, confidence=True)
    whole, tiled = gl.predict(model, cloud, probabilities=True, confidence=True), gl.read(target)
    assert np.abs(whole["confidence"] - tiled["confidence"]).max() < 1e-5
    assert np.ptp(probabilities_of(whole), axis=0).max() > 1e-3
    assert np.abs(probabilities_of(whole) - probabilities_of(tiled)).max() < 1e-5
    assert (whole["classification"] == tiled["classification"]).mean() > 0.999
    for name in ("intensity", "return_number"):
        assert np.array_equal(cloud[name], tiled[name])
    assert np.array_equal(cloud.positions, tiled.positions)
    assert sorted(file.name for file in tmp_path.iterdir()) == [source.name, target.name]


def test_a_planar_cloud(model_of, tmp_path):
    model = model_of("constant")
    model.metadata["inputs"]["crop_radius"] = 2.0
    flat = gl.build_model("pccn", in_channels=1, num_classes=3, num_neighbors=8, dim=2)
    flat.metadata = model.metadata
    cloud = gl.PointCloud(scene().positions[:, :2] - UTM[:2])
    gl.write(tmp_path / "in.ply", cloud)
    predict_in_tiles(flat, tmp_path / "in.ply", tmp_path / "out.ply", points_in_memory=3000)
    expected = gl.predict(flat, cloud)["label"]
    assert (gl.read(tmp_path / "out.ply")["label"] == expected).mean() > 0.999


def test_the_way_is_chosen_by_memory_and_makes_no_difference(model, tmp_path, monkeypatch):
    gl.write(tmp_path / "in.las", scene())
    ways = []
    monkeypatch.setattr(
        "gridless.prediction.files.predict_in_tiles",
        lambda *arguments, **named: ways.append("tiles") or predict_in_tiles(*arguments, **named),
    )
    for memory, name in ((10**9, "whole.las"), (2 * 10**6, "tiles.las")):
        predict_file(model, tmp_path / "in.las", tmp_path / name, memory=memory)
    assert ways == ["tiles"]
    whole, tiles = gl.read(tmp_path / "whole.las"), gl.read(tmp_path / "tiles.las")
    assert np.array_equal(whole["classification"], tiles["classification"])
    gl.write(tmp_path / "in.npz", scene())
    with pytest.raises(ValueError, match=r"6000 points do not fit .* \.npz is not written in parts"):
        predict_file(model, tmp_path / "in.npz", tmp_path / "out.npz", memory=2 * 10**6)


def test_neighbors_share_their_halos(model, tmp_path):
    whole = scene(size=32.0)
    whole.positions[:4] = UTM + np.array([[0, 0, 0], [16, 0, 0], [16, 31, 2], [31, 31, 1]])
    west = whole.positions[:, 0] < UTM[0] + 16
    files = [tmp_path / "west.laz", tmp_path / "east.laz", tmp_path / "again.laz"]
    for file, rows in zip(files, (west, ~west, west), strict=True):
        gl.write(file, whole[rows])
    assert neighbors_of(model, files) == [[files[1]], [files[0], files[2]], [files[1]]]
    expected = probabilities_of(gl.predict(model, whole, probabilities=True))
    targets = [tmp_path / f"{name}.las" for name in ("alone", "together")]
    for target, neighbors in zip(targets, ([], [files[1]]), strict=True):
        predict_in_tiles(model, files[0], target, points_in_memory=2500, neighbors=neighbors, probabilities=True)
    alone, together = (probabilities_of(gl.read(target)) for target in targets)
    inside = whole.positions[west, 0] < UTM[0] + 7.9  # crops there do not reach the border
    assert np.abs(expected[west] - alone)[inside].max() < 1e-5
    # Crops of the eastern file would add to points within a radius of the border.
    own_crops = whole.positions[west, 0] < UTM[0] + 13.9
    assert np.abs(expected[west] - together)[own_crops].max() < 1e-4
    assert np.abs(expected[west] - alone)[own_crops].max() > 1e-3


def west_and_east():
    """Two bare clouds side by side."""
    whole = gl.PointCloud(scene(size=24.0).positions)
    is_west = whole.positions[:, 0] < UTM[0] + 12
    return whole[is_west], whole[~is_west]


def with_intensity(cloud, dtype=np.uint16):
    return cloud.with_columns(intensity=np.linspace(0, 200, len(cloud)).astype(dtype))


def test_a_missing_optional_column_is_0_in_tiles_too(model_of, tmp_path):
    model = model_of("height", FeatureSettings("intensity", transform="robust", optional=True))
    west, east = west_and_east()
    files = [tmp_path / f"{name}.ply" for name in ("west", "bare", "richer")]
    for file, cloud in zip(files, (west, east, with_intensity(east)), strict=True):
        gl.write(file, cloud)
    alone, beside_bare, beside_richer = (tmp_path / f"out{index}.ply" for index in range(3))
    predict_in_tiles(model, files[0], alone, points_in_memory=2500, probabilities=True)
    expected = probabilities_of(gl.predict(model, west, probabilities=True))
    assert np.abs(expected - probabilities_of(gl.read(alone))).max() < 1e-5
    for target, neighbor in ((beside_bare, files[1]), (beside_richer, files[2])):
        predict_file(model, files[0], target, memory=10**9, neighbors=[neighbor], probabilities=True)
    assert beside_richer.read_bytes() == beside_bare.read_bytes() != alone.read_bytes()


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (None, r"east\.ply: no column 'intensity' as in .*west\.ply"),
        (np.float32, r"east\.ply: column 'intensity' is float32, not uint16"),
    ],
)
def test_a_neighbor_with_other_columns_is_left_out_with_a_warning(model_of, tmp_path, dtype, message):
    model = model_of("height", FeatureSettings("intensity", scale=200.0, optional=True))
    west, east = west_and_east()
    source, neighbor, alone, together = (tmp_path / f"{name}.ply" for name in ("west", "east", "alone", "together"))
    gl.write(source, with_intensity(west))
    gl.write(neighbor, east if dtype is None else with_intensity(east, dtype))
    predict_in_tiles(model, source, alone, points_in_memory=10**6, probabilities=True)
    with pytest.warns(UserWarning, match=message):
        predict_file(model, source, together, memory=10**9, neighbors=[neighbor], probabilities=True)
    assert together.read_bytes() == alone.read_bytes()


def test_a_neighbor_without_a_required_column_is_named(model_of, tmp_path):
    west, east = west_and_east()
    gl.write(tmp_path / "west.ply", with_intensity(west))
    gl.write(tmp_path / "east.ply", east)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"east\.ply: no column 'intensity'"):
        predict_file(model_of("intensity"), before[1], tmp_path / "out.ply", memory=10**9, neighbors=before[:1])
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_prediction_continues(model, tmp_path, monkeypatch):
    source, target, reference = (tmp_path / f"{name}.las" for name in ("in", "out", "reference"))
    gl.write(source, scene())
    arguments = {"points_in_memory": 2500, "probabilities": True}
    predict_in_tiles(model, source, reference, **arguments)
    scored = []
    score = TileScorer.score_crops

    def stop_at_third(self, model, crops, *arguments):
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(str(crops.places))
        return score(self, model, crops, *arguments)

    monkeypatch.setattr(TileScorer, "score_crops", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        predict_in_tiles(model, source, target, **arguments)
    assert not target.exists()
    with pytest.raises(ValueError, match="holds an interrupted prediction; --resume continues it"):
        predict_in_tiles(model, source, target, **arguments)
    again = []

    def score_again(self, model, crops, *arguments):
        again.append(str(crops.places))
        return score(self, model, crops, *arguments)

    monkeypatch.setattr(TileScorer, "score_crops", score_again)
    monkeypatch.setattr(job, "_store_points", lambda *arguments: pytest.fail("the points were stored already"))
    predict_in_tiles(model, source, target, **arguments, resume=True)
    assert not set(scored) & set(again)
    assert target.read_bytes() == reference.read_bytes()


def test_a_killed_command_continues(model, tmp_path, capsys):
    gl.write(tmp_path / "in.laz", scene())
    gl.save_model(tmp_path / "model.safetensors", model)
    words = ["predict", str(tmp_path / "in.laz"), "-m", str(tmp_path / "model.safetensors"), "--memory", "2MB"]
    assert main([*words, "-o", str(tmp_path / "reference.laz")]) == 0
    killed = [*words, "-o", str(tmp_path / "out.laz")]
    process = subprocess.Popen([sys.executable, "-m", "gridless.cli.main", *killed], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".out.laz.partial/scores-*/*.done")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "out.laz").exists()
    assert main(killed) == 2
    assert main([*killed, "--resume"]) == 0
    assert (tmp_path / "out.laz").read_bytes() == (tmp_path / "reference.laz").read_bytes()
    assert "6,000 points" in capsys.readouterr().out
    assert main([*killed, "--resume"]) == 0
    assert "kept: " in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))


def test_what_has_changed_is_not_continued(model, tmp_path, monkeypatch):
    source = tmp_path / "in.las"
    gl.write(source, scene())

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TileScorer, "score_crops", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_in_tiles(model, source, tmp_path / "out.las", points_in_memory=2500)
    with pytest.raises(ValueError, match="other inputs or votes"):
        predict_in_tiles(model, source, tmp_path / "out.las", points_in_memory=2500, resume=True, votes=2)
    gl.write(source, scene(seed=1))
    with pytest.raises(ValueError, match="begun with another model, other inputs or votes"):
        predict_in_tiles(model, source, tmp_path / "out.las", points_in_memory=2500, resume=True)


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk is full: make room"), (errno.EFBIG, "larger than .*: raise the limit")]
)
def test_a_full_disk_loses_nothing(model, tmp_path, monkeypatch, number, message):
    source, target = tmp_path / "in.las", tmp_path / "out.las"
    gl.write(source, scene())

    def full(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(job, "_write", full)
        with pytest.raises(OSError, match=rf"{message}.*; .*--resume continues"):
            predict_in_tiles(model, source, target, points_in_memory=2500)
    assert not target.exists()
    monkeypatch.setattr(TileScorer, "score_crops", lambda *arguments: pytest.fail("every tile was done"))
    predict_in_tiles(model, source, target, points_in_memory=2500, resume=True)
    assert len(gl.read(target)) == 6000


def damaged(folder):
    good = scene()
    gl.write(folder / "good.laz", good)
    gl.write(folder / "good.las", good)
    (folder / "cut.laz").write_bytes((folder / "good.laz").read_bytes()[:-9000])
    (folder / "cut.las").write_bytes((folder / "good.las").read_bytes()[:-9000])
    positions = good.positions.copy()
    positions[5000] = np.nan
    gl.write(folder / "nan.ply", gl.PointCloud(positions, good.columns))
    gl.write(folder / "bare.ply", good.without_columns("intensity"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.laz", r"cut\.laz: promises a table of chunks"),
        ("cut.las", r"cut\.las: header promises 6000 points"),
        ("nan.ply", r"nan\.ply, rows from 4900: 1 of 700 points have NaN .*row 100"),
        ("bare.ply", "no column 'intensity'"),
    ],
)
def test_damage_is_named_and_leaves_nothing(model_of, tmp_path, name, message):
    damaged(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        predict_in_tiles(model_of("height", "intensity"), tmp_path / name, tmp_path / "out.las", points_in_memory=2500)
    assert sorted(tmp_path.iterdir()) == before


def test_too_little_memory_says_how_much_is_needed(model, tmp_path):
    gl.write(tmp_path / "in.las", scene(25_000))
    with pytest.raises(ValueError, match=r"enough for 100; allow [\d.]+[MK]B \(--memory\)") as told:
        predict_in_tiles(model, tmp_path / "in.las", tmp_path / "out.las", points_in_memory=100)
    assert not list(tmp_path.glob(".*")), "nothing that would be in the way of a second try"
    enough = points_in(bytes_of(str(told.value).split("allow ")[1].split()[0]), 3)
    predict_in_tiles(model, tmp_path / "in.las", tmp_path / "out.las", points_in_memory=enough)
    with pytest.raises(ValueError, match="enough for"):
        predict_in_tiles(model, tmp_path / "in.las", tmp_path / "out.las", points_in_memory=int(0.9 * enough))


def test_one_process_at_a_time_labels_a_file(model, tmp_path, monkeypatch):
    gl.write(tmp_path / "in.las", scene())
    monkeypatch.setattr(ledger, "_WAIT_SECONDS", 0.0)
    target = tmp_path / "out.las"
    with (
        ledger.Ledger(target, model, [tmp_path / "in.las"], resume=False),
        pytest.raises(ValueError, match=r"out\.las is being labelled by another process"),
    ):
        predict_in_tiles(model, tmp_path / "in.las", target, points_in_memory=2500, resume=True)
    predict_in_tiles(model, tmp_path / "in.las", target, points_in_memory=2500)


def test_what_a_killed_removal_left_is_not_continued(model, tmp_path):
    gl.write(tmp_path / "in.las", scene())
    folder = tmp_path / ".out.las.partial"
    (folder / "scores-2500").mkdir(parents=True)
    (folder / "points.bin").write_bytes(b"of another cloud")
    (folder / "store.json").write_text("{}")
    for name in ("out.las", "other.las"):
        predict_in_tiles(model, tmp_path / "in.las", tmp_path / name, points_in_memory=2500)
    assert (tmp_path / "out.las").read_bytes() == (tmp_path / "other.las").read_bytes()


def test_features_that_need_the_whole_cloud_are_refused(model_of, tmp_path):
    @computed_feature
    def rank(cloud):
        return cloud.positions[:, 2].argsort().argsort()

    try:
        model = model_of("rank")
        gl.write(tmp_path / "in.las", scene())
        with pytest.raises(ValueError, match="feature 'rank' needs the whole cloud in memory"):
            predict_in_tiles(model, tmp_path / "in.las", tmp_path / "out.las", points_in_memory=2500)
    finally:
        COMPUTED_FEATURES.pop("rank")


def test_tiles_cover_every_cell_once_and_hold_their_limit():
    rng = np.random.default_rng(0)
    cells, counts = rng.integers(-30, 30, (400, 2)), rng.integers(1, 50, 400)
    cells[-1] = 10**9
    tiles = cut_tiles(cells, counts, 2, 2000)
    assert len(tiles) > 4
    assert (sum(tile.holds(cells).astype(int) for tile in tiles) == 1).all()
    assert max(counts[tile.grown(2).holds(cells)].sum() for tile in tiles) <= 2000


PEAK = """
import sys
from pathlib import Path
import gridless as gl
from gridless.prediction.large import job, predict_in_tiles
from gridless.prediction.large.scoring import TileScorer
job.POINTS_AT_A_TIME = 20_000
model = gl.load_model(sys.argv[1])
predict_in_tiles(model, Path(sys.argv[2]), Path(sys.argv[3]), points_in_memory=60_000)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(model_of, tmp_path):
    model = model_of("height", "intensity", crop_radius=8.0)
    model.metadata["inputs"] |= {"voxel_size": 4.0}
    gl.save_model(tmp_path / "model.safetensors", model)
    peaks = []
    for name, side in (("small", 40.0), ("large", 120.0)):
        gl.write(tmp_path / f"{name}.las", scene(int(side**2 * 60), size=side, order="strips"))
        words = [tmp_path / "model.safetensors", tmp_path / f"{name}.las", tmp_path / f"{name}-out.las"]
        run = subprocess.run(
            [sys.executable, "-c", PEAK, *map(str, words)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        peaks.append(int(run.stdout))
    with open_file(tmp_path / "large-out.las") as chunks:
        grown_points = len(chunks) - 96_000
    # A point needs 24 bytes for its coordinates alone, and several times that with columns, features and scores.
    assert peaks[1] - peaks[0] < 24 * grown_points

"""A cluster labels what one process labels, whatever happens to its workers."""

import os
import signal

import pytest
import torch

import gridless as gl
from gridless.cli.main import main
from gridless.data import FeatureSettings
from gridless.data.simulation import simulate_airborne_lidar
from gridless.models import Network
from gridless.prediction import Cluster, predict_file
from gridless.prediction.large import job, predict_in_tiles

ray = pytest.importorskip("ray")
# Ray's own processes and sockets outlive its shutdown by a moment.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

FEATURES = [
    FeatureSettings("height_above_ground", options={"window": 9.0}),
    FeatureSettings("planarity", options={"k": 8}),
    FeatureSettings("intensity", transform="robust"),
]


class DyingOnce(Network):
    """A network that kills the process it is in, once."""

    def __init__(self, network, marker, alive):
        super().__init__(network.config)
        self.network, self.marker, self.alive = network, marker, alive
        self.metadata = network.metadata

    @property
    def pyramid_settings(self):
        return self.network.pyramid_settings

    def forward(self, features, pyramid):
        if os.getpid() != self.alive and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.network(features, pyramid)


@pytest.fixture
def model(model_of):
    return model_of(*FEATURES)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "POINTS_AT_A_TIME", 2000)
    (tmp_path / "in").mkdir()
    for seed in (1, 2, 3):
        gl.write(tmp_path / f"in/{seed}.laz", simulate_airborne_lidar(seed, size=(30.0, 30.0), density=4.0))
    return tmp_path


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_lost_worker_changes_nothing(model, folder):
    source, here, there = folder / "in/1.laz", folder / "here.laz", folder / "there.laz"
    settings = {"points_in_memory": 2400, "probabilities": True}
    predict_in_tiles(model, source, here, **settings)
    dying = DyingOnce(model, folder / "died", os.getpid())
    with Cluster(dying, num_workers=2) as cluster:
        predict_in_tiles(model, source, there, scoring=cluster, **settings)
        with pytest.raises(ValueError, match="a cluster writes"):
            predict_file(model, source, folder / "there.npz", memory=10**9, scoring=cluster)
    assert (folder / "died").exists()
    assert there.read_bytes() == here.read_bytes()


def test_the_command_labels_files_side_by_side(model, folder, capsys):
    gl.save_model(folder / "model.safetensors", model)
    words = ["predict", str(folder / "in"), "-m", str(folder / "model.safetensors"), "--memory", "3MB"]
    assert main([*words, "-o", str(folder / "here")]) == 0
    assert main([*words, "-o", str(folder / "there"), "--cluster", "local"]) == 0
    for name in ("1.laz", "2.laz", "3.laz"):
        assert (folder / "there" / name).read_bytes() == (folder / "here" / name).read_bytes()
    assert "waiting for workers" in capsys.readouterr().out


def test_a_missing_cluster_is_told(model, folder, capsys):
    gl.save_model(folder / "model.safetensors", model)
    words = [
        "predict",
        str(folder / "in/1.laz"),
        "-o",
        str(folder / "out.laz"),
        "-m",
        str(folder / "model.safetensors"),
    ]
    assert main([*words, "--cluster", "auto"]) == 2
    assert "no Ray cluster at 'auto'" in capsys.readouterr().err
    assert not (folder / "out.laz").exists()

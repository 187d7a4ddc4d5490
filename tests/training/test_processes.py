"""Trainings of several processes equal those of one with the same batches."""

import os
import socket
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from lightning.fabric.utilities.rank_zero import rank_zero_only

import gridless as gl
from gridless.training import fit, load_recipe, read_curves
from gridless.training.module import NetworkTraining
from gridless.training.processes import share_of, trainer_placement
from tests.training.simulated import write_recipe


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    schedule = {
        "steps": 8, "steps_per_epoch": 4, "crops_per_step": 4, "loss_average": "crops", "average_decay": 0.8,
    }  # fmt: skip
    return write_recipe(tmp_path_factory.mktemp("job"), 1, schedule)


def fit_keeping_gradients(recipe_file, output, keep):
    """Train; the gradients of every step go to ``keep``."""

    class KeepingGradients(NetworkTraining):
        def on_before_optimizer_step(self, optimizer):
            keep.append({name: weight.grad.clone() for name, weight in self.model.named_parameters()})

    with mock.patch("gridless.training.trainer.NetworkTraining", KeepingGradients):
        return fit(load_recipe(recipe_file, {"output": str(output)}), progress_bar=False)


def fit_as_started_by_torchrun(rank, port, recipe_file, output):
    places = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in places.items()})
    os.environ.update(TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    # Lightning has looked where it is when it was imported, before there was a rank to find.
    rank_zero_only.rank = rank
    torch.set_num_threads(1)
    gradients = []
    fit_keeping_gradients(recipe_file, output, gradients)
    torch.save(gradients, f"{output}/gradients_{rank}.pt")


@pytest.fixture(scope="module")
def alone(recipe_file, tmp_path_factory):
    """The run of a single process, and its gradients."""
    gradients = []
    run = fit_keeping_gradients(recipe_file, tmp_path_factory.mktemp("alone") / "run", gradients)
    return run.folder, gradients


def assert_same_run(run, alone):
    for name in ("train_loss", "val_loss", "val_miou"):
        found, expected = (read_curves(folder)[name] for folder in (run, alone))
        np.testing.assert_array_equal(found[0], expected[0])
        assert len(found[0]) >= 2
        np.testing.assert_allclose(found[1], expected[1], rtol=2e-3, atol=2e-3)
    weights, expected = (gl.load_model(folder / "model.safetensors").state_dict() for folder in (run, alone))
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], rtol=5e-3, atol=5e-3)


def test_two_processes_learn_what_one_learns(recipe_file, alone, tmp_path):
    run = tmp_path / "run"
    mp.spawn(fit_as_started_by_torchrun, (free_port(), recipe_file, run), nprocs=2)
    assert_same_run(run, alone[0])
    found = [torch.load(run / f"gradients_{rank}.pt") for rank in (0, 1)]
    assert len(found[0]) == len(alone[1]) == 8
    for name, expected in alone[1][0].items():
        for rank in (0, 1):
            torch.testing.assert_close(found[rank][0][name], expected, rtol=1e-3, atol=1e-4 * float(expected.norm()))


def test_the_command_starts_processes(recipe_file, alone, tmp_path):
    command = [sys.executable, "-m", "gridless.cli.main", "train", str(recipe_file), "--devices", "2"]
    finished = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("best validation mIoU") == 1
    assert_same_run(tmp_path / "run", alone[0])


def test_what_cannot_be_divided_is_told():
    with mock.patch("gridless.training.processes.num_processes", return_value=4):
        assert share_of(8) == 2
        with pytest.raises(ValueError, match="crops_per_step = 6 cannot be divided evenly among 4 processes"):
            share_of(6)


@pytest.mark.parametrize(
    ("environment", "here", "nodes"),
    [
        ({"RANK": "5", "GROUP_RANK": "2", "LOCAL_RANK": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}, 2, 3),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "4"}, 4, 2),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, 1, 1),
        ({}, 1, 1),
    ],
)
def test_what_has_started_the_processes_says_how_many(environment, here, nodes, monkeypatch):
    names = ["RANK", "GROUP_RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"]
    for name in [*names, "TORCHELASTIC_RUN_ID", *(name for name in os.environ if name.startswith("SLURM"))]:
        monkeypatch.delenv(name, raising=False)
    if "RANK" in environment:
        environment = {**environment, "TORCHELASTIC_RUN_ID": "x"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    placement = trainer_placement(None)
    assert (placement["devices"], placement["num_nodes"]) == (here, nodes)
    assert ("strategy" in placement) == (here * nodes > 1)
    if here > 1:
        with pytest.raises(ValueError, match="processes were started"):
            trainer_placement(here + 1)

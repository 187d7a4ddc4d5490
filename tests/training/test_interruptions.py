"""A training that is killed, runs out of disk, diverges or meets damaged files."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import gridless as gl
from gridless.data.simulation import simulate_airborne_lidar
from gridless.errors import ReadError
from gridless.training import DivergedError, TrainingFiles, fit, load_recipe, read_curves
from gridless.training.checkpoints import WholeCheckpoints
from gridless.training.module import NetworkTraining
from tests.training.simulated import write_recipe

STEPS, STEPS_PER_EPOCH = 36, 6


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    schedule = {"steps": STEPS, "steps_per_epoch": STEPS_PER_EPOCH, "crops_per_step": 2, "average_decay": 0.9}
    # Dropout and the moving average have a state that has to survive too.
    return write_recipe(tmp_path_factory.mktemp("job"), 2, schedule, dropout=0.3)


@pytest.fixture
def recipe_to(recipe_file, tmp_path):
    """A recipe that writes into this test's folder, with other values where they are given."""
    return lambda **overrides: load_recipe(recipe_file, {"output": str(tmp_path / "run"), **overrides})


def start_training(recipe_file, output):
    words = [sys.executable, "-m", "gridless.cli.main", "train", str(recipe_file), "--output", str(output), "--resume"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(training):
    _, errors = training.communicate(timeout=300)
    assert training.returncode == 0, errors


def kill_at_a_random_moment(training, run, longest_wait):
    """Kill once this part of the training has begun; whether it was still running."""
    tables = len(list(run.glob("curves/version_*")))
    while len(list(run.glob("curves/version_*"))) == tables and training.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, longest_wait))
    training.send_signal(signal.SIGKILL)
    training.communicate()
    return training.returncode == -signal.SIGKILL


def test_killed_at_random_moments_and_resumed_equals_uninterrupted(recipe_file, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = start_training(recipe_file, whole)
    while not (whole / "checkpoints" / "last.ckpt").exists() and started.poll() is None:
        time.sleep(0.01)
    first_epoch = time.monotonic()
    finish(started)
    seconds = time.monotonic() - first_epoch
    kills = sum(kill_at_a_random_moment(start_training(recipe_file, killed), killed, seconds / 2) for _ in range(2))
    assert kills > 0
    finish(start_training(recipe_file, killed))
    expected, found = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, killed))
    assert found["global_step"] == expected["global_step"] == STEPS
    torch.testing.assert_close(found["state_dict"], expected["state_dict"])
    expected_curves, curves = read_curves(whole), read_curves(killed)
    assert curves.keys() == expected_curves.keys()
    assert len(curves["train_loss"][0]) == STEPS // STEPS_PER_EPOCH
    for name, (steps, values) in expected_curves.items():
        assert curves[name][0].tolist() == steps.tolist(), name
        np.testing.assert_allclose(curves[name][1], values, rtol=1e-5, err_msg=name)
    models = [gl.load_model(run / "model.safetensors").state_dict() for run in (whole, killed)]
    torch.testing.assert_close(models[1], models[0])


@pytest.mark.parametrize(("cut", "steps"), [(0, [5, 12]), (2, [5]), (9, [5]), (15, []), (25, []), (45, [])])
def test_a_row_of_the_curves_that_was_cut_short_does_not_count(tmp_path, cut, steps):
    table = tmp_path / "curves" / "version_0" / "metrics.csv"
    table.parent.mkdir(parents=True)
    text = "epoch,step,train_loss\r\n0,5,0.25\r\n0,12,0.125\r\n"
    table.write_bytes(text[: len(text) - cut].encode())
    curves = read_curves(tmp_path)
    assert [int(step) for step in curves.get("train_loss", ([], []))[0]] == steps


def full_disk_for(suffix, after, number):
    """Path.write_bytes of a disk that has room for ``after`` more files of this suffix and half of the next."""
    written = []
    write = Path.write_bytes

    def write_bytes(path, data):
        if path.suffix == suffix:
            written.append(path)
            if len(written) > after:
                write(path, bytes(data)[: len(data) // 2])
                raise OSError(number, os.strerror(number))
        return write(path, data)

    return write_bytes


@pytest.mark.parametrize(
    ("suffix", "number", "message"),
    [
        (".ckpt", errno.ENOSPC, r"disk is full \(writing .*\); .*: make room, then continue with --resume"),
        (".safetensors", errno.EFBIG, r"larger than .* \(writing .*\); .*: raise the limit.* --resume"),
    ],
)
def test_a_full_disk_leaves_the_last_checkpoint(recipe_to, monkeypatch, suffix, number, message):
    recipe = recipe_to(**{"schedule.steps": 12})
    run = Path(recipe.output)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk_for(suffix, after=2 if suffix == ".ckpt" else 0, number=number))
        with pytest.raises(OSError, match=message):
            fit(recipe, progress_bar=False)
    assert not list(run.rglob(f".*{suffix}"))
    if suffix == ".ckpt":
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert fit(recipe, resume=True, progress_bar=False).steps == 12
    assert read_curves(run)["val_miou"][0].tolist() == [5, 11]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's thread
@pytest.mark.parametrize("log", ["curves/version_0/metrics.csv", "tensorboard/events.*"])
def test_a_disk_that_is_full_for_a_log_leaves_the_last_checkpoint(recipe_to, monkeypatch, log):
    recipe = recipe_to()
    run = Path(recipe.output)
    save = WholeCheckpoints.save_checkpoint

    def save_then_fill(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        if Path(path).name == "last.ckpt":
            (file,) = run.glob(log)
            file.unlink()
            file.symlink_to("/dev/full")

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", save_then_fill)
    with pytest.raises(OSError, match=r"disk is full .*last\.ckpt, is whole: make room, then continue with --resume"):
        fit(recipe, progress_bar=False)
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] % STEPS_PER_EPOCH == 0
    assert 0 < kept["global_step"] < STEPS


def test_a_loss_that_is_nan_names_step_and_files_and_keeps_them(recipe_to):
    recipe = recipe_to(**{"schedule.learning_rate": 1e30, "schedule.gradient_clip": 0})
    with pytest.raises(DivergedError, match=r"at step \d+ \(crops from .*scene_\d\.laz.*diverged\.json") as caught:
        fit(recipe, progress_bar=False)
    kept = json.loads((Path(recipe.output) / "diverged.json").read_text())
    assert kept["step"] == caught.value.step
    assert len(kept["crops"]) == 2
    for crop in kept["crops"]:
        low, high = (side(gl.read(crop["file"]).positions[:, :2], axis=0) for side in (np.min, np.max))
        assert np.all(crop["center"] > low - 3)
        assert np.all(crop["center"] < high + 3)


def test_a_training_that_begins_anew_keeps_no_curves_of_the_one_before(recipe_to):
    recipe = recipe_to(**{"schedule.steps": 12, "schedule.average_decay": 0.0})
    run = Path(recipe.output)
    fit(recipe, progress_bar=False)
    (run / "diverged.json").write_text("{}")
    shutil.rmtree(run / "checkpoints")
    (run / "model.safetensors").unlink()
    fit(recipe_to(**{"schedule.steps": 6}), resume=True, progress_bar=False)
    assert read_curves(run)["val_miou"][0].tolist() == [5]
    assert len(list(run.glob("tensorboard/events.*"))) == 1
    assert not (run / "diverged.json").exists()


def test_weights_that_are_no_longer_finite_are_not_saved(recipe_to, monkeypatch):
    recipe = recipe_to(**{"schedule.steps": 12, "schedule.gradient_clip": 0})
    last_step_of_second_epoch = 2 * STEPS_PER_EPOCH - 1
    optimizer_step = NetworkTraining.optimizer_step

    def step_with_bad_gradient(self, epoch, batch_idx, optimizer, closure):
        def with_bad_gradient():
            loss = closure()
            if self.trainer.global_step == last_step_of_second_epoch:
                next(self.model.parameters()).grad.fill_(torch.nan)
            return loss

        optimizer_step(self, epoch, batch_idx, optimizer, with_bad_gradient)

    monkeypatch.setattr(NetworkTraining, "optimizer_step", step_with_bad_gradient)
    with pytest.raises(DivergedError, match=r"weights are no longer finite at step 11 \(crops from .*scene_\d\.laz"):
        fit(recipe, progress_bar=False)
    run = Path(recipe.output)
    assert len(json.loads((run / "diverged.json").read_text())["crops"]) == 2
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == STEPS_PER_EPOCH
    assert all(values.isfinite().all() for values in kept["state_dict"].values())


def test_unreadable_files_stop_the_training_before_it_begins_unless_they_may_be_skipped(recipe_to, tmp_path):
    good = recipe_to(**{"schedule.steps": 6}).data.train
    bad = tmp_path / "bad.laz"
    bad.write_bytes(Path(good[0].files).read_bytes()[:3000])
    cloud = gl.read(good[0].files)
    cloud.positions[3, 0] = np.nan
    gl.write(tmp_path / "nan.npz", cloud)
    bad_files = [str(bad), str(tmp_path / "nan.npz")]
    recipe = recipe_to(**{"schedule.steps": 6, "data.train": [*(entry.files for entry in good), *bad_files]})
    with pytest.raises(ReadError, match=r"bad\.laz.*--skip-bad"):
        fit(recipe, progress_bar=False)
    assert not Path(recipe.output).exists()
    with (
        pytest.warns(UserWarning, match=r"data\.train: left out.*bad\.laz"),
        pytest.warns(UserWarning, match=r"data\.train: left out.*nan\.npz.*NaN"),
    ):
        assert fit(recipe, progress_bar=False, skip_bad=True).steps == 6
    assert load_recipe(Path(recipe.output) / "recipe.yaml").data.train == good


def test_nothing_left_to_learn_from_or_to_validate_with(recipe_to, tmp_path):
    bad = tmp_path / "bad.laz"
    bad.write_bytes(b"LASF")
    for place in ("train", "validation"):
        recipe = recipe_to(**{f"data.{place}": [str(bad)]})
        with (
            pytest.warns(UserWarning, match="left out"),
            pytest.raises(ValueError, match=rf"data\.{place}: none of its 1 files can be read"),
        ):
            fit(recipe, progress_bar=False, skip_bad=True)


def test_shares_follow_the_files_that_are_left(recipe_to, tmp_path):
    bad = tmp_path / "bad.laz"
    bad.write_bytes(b"LASF")
    good = recipe_to().data.train[0].files
    entries = [{"files": str(bad), "share": 0.9}, {"files": good, "share": 0.1}]
    recipe = recipe_to(**{"schedule.steps": 6, "data.train": entries})
    with pytest.warns(UserWarning, match="left out"):
        fit(recipe, progress_bar=False, skip_bad=True)
    assert load_recipe(Path(recipe.output) / "recipe.yaml").data.train == [TrainingFiles(good, share=0.1)]


@pytest.fixture
def many(tmp_path):
    """A folder of four small files."""
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(4):
        gl.write(folder / f"{seed}.laz", simulate_airborne_lidar(seed, (20.0, 20.0), density=3.0))
    return folder


def streamed(many, **overrides):
    entries = [{"files": str(many)}]
    return {"schedule.steps": 6, "data.train": entries, "data.streamed": True, "data.validation_crops": 4} | overrides


def damage_far_in(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    file.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed_files_equal_a_cache_of_them_and_damage_is_named(recipe_to, many, tmp_path, workers):
    plain = streamed(many, **{"schedule.workers": workers})
    assert fit(recipe_to(**plain), progress_bar=False).steps == 6
    cached = fit(
        recipe_to(**plain, **{"data.cache": str(tmp_path / "cache"), "output": str(tmp_path / "cached")}),
        progress_bar=False,
    )
    assert len(list((tmp_path / "cache").iterdir())) == 4
    first, second = (read_curves(run)["train_loss"][1] for run in (tmp_path / "run", cached.folder))
    assert np.array_equal(first, second)
    damage_far_in(many / "2.laz")
    with pytest.raises(ReadError, match=r"2\.laz: .*--skip-bad"):
        fit(recipe_to(**plain, output=str(tmp_path / "damaged")), progress_bar=False)


def test_streamed_files_that_are_damaged_may_be_skipped(recipe_to, many):
    damage_far_in(many / "2.laz")
    (many / "1.laz").write_bytes((many / "1.laz").read_bytes()[:300])
    with pytest.raises(ReadError, match=r"1\.laz: .*--skip-bad"):
        fit(recipe_to(**streamed(many)), progress_bar=False)
    recipe = recipe_to(**streamed(many))
    with pytest.warns(UserWarning, match="left out") as told:
        assert fit(recipe, progress_bar=False, skip_bad=True).steps == 6
    named = {name for warning in told for name in ("1.laz", "2.laz") if name in str(warning.message)}
    assert named == {"1.laz", "2.laz"}
    used = load_recipe(Path(recipe.output) / "recipe.yaml").data.train
    assert [Path(entry.files).name for entry in used] == ["0.laz", "2.laz", "3.laz"]


def write_empty(path):
    gl.write(path, gl.PointCloud(np.zeros((0, 3)), {"classification": np.zeros(0, np.uint8)}))
    return str(path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_without_points_is_named_and_may_be_skipped(recipe_to, many, tmp_path, in_memory):
    empty = write_empty(tmp_path / "empty.npz")
    entries = [{"files": str(many)}, {"files": empty}]
    changes = streamed(many, **{"data.train": entries, "data.streamed": not in_memory, "schedule.steps": 12})
    with pytest.raises(ReadError, match=re.escape(empty) + ".*no points to learn from.*--skip-bad"):
        fit(recipe_to(**changes), progress_bar=False)
    with pytest.warns(UserWarning, match="no points to learn from"):
        fit(recipe_to(**changes, output=str(tmp_path / "other")), progress_bar=False, skip_bad=True)


@pytest.mark.parametrize("in_memory", [True, False])
def test_validation_without_a_label_is_told(recipe_to, many, tmp_path, in_memory):
    cloud = gl.read(next(many.iterdir()))
    unlabelled = cloud.with_columns(classification=np.full(len(cloud), 14, np.uint8))
    gl.write(tmp_path / "unlabelled.laz", unlabelled)
    changes = {"data.validation": [str(tmp_path / "unlabelled.laz")], "data.streamed": not in_memory}
    with pytest.raises(ValueError, match=r"no labelled point is held aside|none of the points .* is labelled"):
        fit(recipe_to(**streamed(many, **changes)), progress_bar=False)


def test_a_class_without_a_training_point_is_named(recipe_to):
    classes = {"ground": [2], "shrub": [3], "tree": [5], "house": [6], "bridge": [17]}
    recipe = recipe_to(**{"schedule.steps": 6, "labels.classes": classes, "labels.ignored": [14, 15, 64]})
    with pytest.warns(UserWarning, match="no training point is of class house, bridge, which will not be learned"):
        fit(recipe, progress_bar=False)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_training_with_their_status(recipe_file, tmp_path, sent, status):
    # What a shell starts in the background ignores SIGINT, and so would what is started here.
    before = signal.signal(sent, signal.default_int_handler)
    try:
        training = start_training(recipe_file, tmp_path / "run")
    finally:
        signal.signal(sent, before)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and training.poll() is None:
        time.sleep(0.05)
    training.send_signal(sent)
    training.communicate(timeout=300)
    assert training.returncode == status


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule.steps_per_epoch": 4}, "begun with schedule.steps_per_epoch: 6"),
        ({"schedule.average_decay": 0.0}, "can neither begin nor end on the way"),
    ],
)
def test_what_checkpoints_count_in_cannot_change(recipe_to, change, message):
    fit(recipe_to(**{"schedule.steps": 6}), progress_bar=False)
    with pytest.raises(ValueError, match=message):
        fit(recipe_to(**{"schedule.steps": 12, **change}), resume=True, progress_bar=False)


def test_damaged_checkpoints_are_named(recipe_to):
    recipe = recipe_to(**{"schedule.steps": 6})
    fit(recipe, progress_bar=False)
    last = Path(recipe.output) / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    middle = len(whole) // 2
    changed = bytes(byte ^ 255 for byte in whole[middle : middle + 200])  # more than lies between two tensors
    for damaged in (b"", whole[:middle], whole[:middle] + changed + whole[middle + 200 :]):
        last.write_bytes(damaged)
        with pytest.raises(ReadError, match=r"last\.ckpt: the checkpoint is damaged"):
            fit(recipe, resume=True, progress_bar=False)


def test_resumed_trainings_take_another_weight_decay(recipe_to):
    recipe = recipe_to(**{"schedule.steps": 6})
    fit(recipe, progress_bar=False)
    fit(recipe_to(**{"schedule.steps": 12, "schedule.weight_decay": 0.5}), resume=True, progress_bar=False)
    state = torch.load(Path(recipe.output) / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0.5


def test_the_first_streamed_file_may_be_the_damaged_one(recipe_to, many):
    damage_far_in(many / "0.laz")
    with pytest.warns(UserWarning, match=r"0\.laz.* left out|left out.*0\.laz"):
        assert fit(recipe_to(**streamed(many)), progress_bar=False, skip_bad=True).steps == 6

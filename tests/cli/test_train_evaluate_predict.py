"""From files to a trained model to a labelled file, through the command line."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

import gridless as gl
from gridless.cli.main import main
from gridless.training import read_curves
from tests.cli.printed import words_of


def scene(seed):
    """Flat ground and boxes on it: a network has to see heights to tell them apart."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 24, (3000, 2))
    on_box = (np.floor(xy / 6).sum(axis=1) % 2 == 0) & (np.abs(xy % 6 - 3) < 2).all(axis=1)
    z = np.where(on_box, 3.0, 0.0) + rng.normal(0, 0.02, 3000)
    classification = np.where(on_box, 6, 2).astype(np.uint8)
    classification[:20] = 1
    columns = {"classification": classification, "intensity": rng.integers(0, 900, 3000).astype(np.uint16)}
    return gl.PointCloud(np.column_stack([xy, z]) + np.array([652_000, 6_862_000, 120]), columns)


@pytest.fixture(scope="module")
def job_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    for name, seed in (("train", 0), ("test", 1)):
        gl.write(folder / f"{name}.laz", scene(seed))
    recipe = {
        "data": {"train": ["train.laz"], "test": ["test.laz"]},
        "labels": {"classes": {"ground": [2], "house": [6]}, "ignored": [1]},
        "inputs": {
            "features": [{"name": "height_above_ground", "scale": 3}, {"name": "intensity", "transform": "robust"}],
            "voxel_size": 0.8,
            "crop_radius": 5,
        },
        "network": {"name": "pccn", "config": {"num_neighbors": 8}},
        "schedule": {"steps": 30, "steps_per_epoch": 10, "crops_per_step": 2, "learning_rate": 0.01, "workers": 0},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run(job_folder):
    assert main(["train", str(job_folder / "recipe.yaml"), "--output", str(job_folder / "run")]) == 0
    return job_folder / "run"


def test_training_learns_and_evaluate_scores_every_labelled_point(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    assert "mean IoU" in capsys.readouterr().out
    scores = json.loads((run / "scores.json").read_text())
    assert sum(c["support"] for c in scores["classes"].values()) == 3000 - 20
    assert scores["mean_iou"] > 0.8
    assert 0 <= scores["expected_calibration_error"] < 0.3
    assert (run / "confusion.png").stat().st_size > 1000


def test_what_training_held_aside_can_be_scored(run, tmp_path, capsys):
    words = ["evaluate", str(run), "--validation", "--output", str(tmp_path)]
    assert main(words) == 0
    assert "are replaced" not in words_of(capsys.readouterr().out)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["scored"] == "validation"
    labelled = (gl.read(run.parent / "train.laz")["classification"] != 1).sum()
    held = sum(c["support"] for c in scores["classes"].values())
    assert abs(held - 0.15 * labelled) <= 1
    validated = gl.load_model(run / "model.safetensors").metadata["training"]["val_miou"]
    assert abs(scores["mean_iou"] - validated) < 0.1, "the same up to voxels and points"
    assert main(["evaluate", str(run), str(run.parent / "test.laz"), *words[2:]]) == 2
    assert "takes no files" in words_of(capsys.readouterr().err)
    assert main([*words, "--ignore", "7"]) == 2
    assert "--ignore is for files" in words_of(capsys.readouterr().err)
    assert main(["evaluate", str(run), *words[3:]]) == 0
    assert "note: scores of the validation in" in words_of(capsys.readouterr().out)
    assert json.loads((tmp_path / "scores.json").read_text())["scored"] == "test files"
    model = gl.load_model(run / "model.safetensors")
    del model.metadata["recipe"]
    gl.save_model(tmp_path / "model.safetensors", model)
    assert main(["evaluate", str(tmp_path / "model.safetensors"), "--validation"]) == 2
    assert "needs a model that knows its recipe" in words_of(capsys.readouterr().err)


def test_the_temperature_found_in_training_travels_with_the_model(run, job_folder):
    temperature = gl.load_model(run / "model.safetensors").metadata["temperature"]
    assert temperature != 1.0
    assert 0.05 < temperature < 20
    target = job_folder / "confident.laz"
    words = ["predict", str(job_folder / "test.laz"), "--model", str(run), "--output", str(target), "--confidence"]
    assert main(words) == 0
    confidence = gl.read(target)["confidence"]
    assert confidence.dtype == np.float32
    assert confidence.min() >= 0.5
    assert confidence.max() <= 1


def test_a_training_in_two_parts_equals_one_in_one(run, job_folder):
    parts = job_folder / "parts"
    recipe = str(job_folder / "recipe.yaml")
    # The first part is stopped by an error after the first epoch, as a kill would.
    from gridless.training import module

    step = module.NetworkTraining.training_step

    def stop(self, batch, batch_idx):
        if self.trainer.global_step == 14:
            raise KeyError("killed")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.NetworkTraining, "training_step", stop)
        with pytest.raises(KeyError, match="killed"):
            main(["train", recipe, "--output", str(parts)])
    assert main(["train", recipe, "--output", str(parts), "--resume"]) == 0
    whole, resumed = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (run, parts))
    assert resumed["global_step"] == whole["global_step"] == 30
    for name, weights in whole["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][name], weights, msg=name)
    curves, resumed_curves = read_curves(run), read_curves(parts)
    assert curves["val_miou"][0].tolist() == resumed_curves["val_miou"][0].tolist()
    np.testing.assert_allclose(curves["val_miou"][1], resumed_curves["val_miou"][1])


def test_the_time_limit_ends_the_schedule_with_a_validated_model(job_folder):
    folder = job_folder / "limited"
    words = ["train", str(job_folder / "recipe.yaml"), "--output", str(folder), "--schedule.average_decay", "0.5"]
    assert (
        main([*words, "--schedule.steps=100000", "--schedule.steps_per_epoch=50000", "--schedule.time_limit=0.2"]) == 0
    )
    curves = read_curves(folder)
    assert curves["val_miou"][0][-1] < 100_000
    assert curves["learning_rate"][1][-1] < 0.6 * curves["learning_rate"][1].max()
    assert gl.load_model(folder / "model.safetensors").metadata["training"]["minutes"] < 1


def test_resuming_a_finished_training_changes_nothing(run, job_folder):
    before = (run / "model.safetensors").read_bytes()
    assert main(["train", str(job_folder / "recipe.yaml"), "--output", str(run), "--resume"]) == 0
    assert (run / "model.safetensors").read_bytes() == before


def test_a_run_is_not_overwritten_by_accident(run, job_folder, capsys):
    assert main(["train", str(job_folder / "recipe.yaml"), "--output", str(run)]) == 2
    assert "already holds a training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--inputs.voxel_size", "1.5"], "was begun with other inputs and cannot be continued with these"),
        (["--network.config.channels", "[8, 32]"], "was begun with other network"),
        (["--labels.classes", "{other: [2], ground: [6]}"], "was begun with other labels"),
        (["--schedule.steps", "10"], "has done 30 steps, more than schedule.steps: 10"),
    ],
)
def test_another_training_does_not_continue_a_run(run, job_folder, capsys, change, message):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", str(job_folder / "recipe.yaml"), "--output", str(run), "--resume", *change]) == 2
    assert message in words_of(capsys.readouterr().err)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_trained_model_without_checkpoints_is_not_overwritten(run, job_folder, capsys):
    copy = job_folder / "slim"
    copy.mkdir()
    shutil.copy(run / "model.safetensors", copy)
    assert main(["train", str(job_folder / "recipe.yaml"), "--output", str(copy)]) == 2
    assert "already holds a trained model" in words_of(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["num_classes", "7"], "network.config.num_classes follows from labels.classes; leave it out"),
        (["channels", "8"], "channels must be a list, each item a whole number, got 8"),
        (["channels", "[8, 0]"], "channels must name at least one width, each from 1 on, got [8, 0]"),
        (["num_neighbors", "abc"], "num_neighbors must be a whole number, got 'abc'"),
        (["dim", "2"], "network.config: the data has 3 dimensions, dim is 2"),
    ],
)
def test_a_network_that_cannot_be_built(job_folder, capsys, change, message):
    words = ["train", str(job_folder / "recipe.yaml"), "--output", str(job_folder / "never")]
    assert main([*words, f"--network.config.{change[0]}", change[1]]) == 2
    assert message in words_of(capsys.readouterr().err)
    assert not (job_folder / "never").exists()


def test_diverged_training_says_so(job_folder, capsys):
    words = ["train", str(job_folder / "recipe.yaml"), "--output", str(job_folder / "nan")]
    assert main([*words, "--schedule.learning_rate=1e30", "--schedule.gradient_clip", "0"]) == 2
    message = words_of(capsys.readouterr().err)
    assert "no longer finite" in message
    assert "schedule.learning_rate" in message


def test_predict_writes_las_with_everything_else_kept(run, job_folder):
    output = job_folder / "labelled.laz"
    assert (
        main(["predict", str(job_folder / "test.laz"), "-o", str(output), "--model", str(run), "--probabilities"]) == 0
    )
    before, after = gl.read(job_folder / "test.laz"), gl.read(output)
    assert np.array_equal(before.positions, after.positions)
    assert np.array_equal(before["intensity"], after["intensity"])
    assert set(after["classification"].tolist()) == {2, 6}
    assert (after["classification"] == before["classification"])[20:].mean() > 0.9
    assert np.allclose(after["probability_ground"] + after["probability_house"], 1, atol=1e-3)


def test_predict_several_files_into_a_folder(run, job_folder):
    words = [str(job_folder / "train.laz"), str(job_folder / "test.laz"), "-m", str(run / "model.safetensors")]
    assert main(["predict", *words, "-o", str(job_folder / "many")]) == 0
    assert sorted(f.name for f in (job_folder / "many").iterdir()) == ["test.laz", "train.laz"]


def test_predict_refuses_what_would_lose_data(run, job_folder, capsys):
    source = str(job_folder / "test.laz")
    assert main(["predict", source, str(job_folder / "train.laz"), "-o", "one.laz", "-m", str(run)]) == 2
    assert "need a folder" in capsys.readouterr().err
    assert main(["predict", source, "-o", source, "-m", str(run)]) == 2
    assert "would replace its own input" in words_of(capsys.readouterr().err)
    assert main(["predict", source, "-o", str(job_folder / "labelled.lax"), "-m", str(run)]) == 2
    assert "unknown suffix .lax; known are" in words_of(capsys.readouterr().err)
    assert not (job_folder / "labelled.lax").exists()


def test_a_bad_file_does_not_keep_others_from_being_labelled(run, tmp_path, capsys):
    bad_inputs(tmp_path)
    output = tmp_path / "out"
    words = ["predict", str(tmp_path / "*.laz"), str(tmp_path / "*.npz"), "-o", str(output), "-m", str(run)]
    assert main(words) == 2
    assert [path.name for path in output.iterdir()] == ["good.laz"]
    told = capsys.readouterr()
    assert "3 of 4 files were not labelled" in words_of(told.err)
    assert told.out.count("not labelled: ") == 3


def bad_inputs(folder):
    good = scene(2)
    gl.write(folder / "good.laz", good)
    (folder / "truncated.laz").write_bytes((folder / "good.laz").read_bytes()[:3000])
    (folder / "empty.laz").touch()
    gl.write(folder / "no_column.ply", good.without_columns("intensity"))
    positions = good.positions.copy()
    positions[5] = np.nan
    gl.write(folder / "nan.npz", gl.PointCloud(positions, good.columns))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.laz", "no file matches"),
        ("truncated.laz", "truncated.laz"),
        ("empty.laz", "empty.laz"),
        ("no_column.ply", "no column 'intensity'"),
        ("nan.npz", "1 of 3000 points have NaN"),
    ],
)
def test_bad_input_is_named_and_leaves_no_output(run, tmp_path, capsys, name, message):
    bad_inputs(tmp_path)
    output = tmp_path / "out"
    output.mkdir()
    assert main(["predict", str(tmp_path / name), "-o", str(output / "x.ply"), "-m", str(run)]) == 2
    # The panel wraps words, so blanks are not compared.
    assert "".join(message.split()) in "".join(capsys.readouterr().err.split()).replace("│", "")
    assert not list(output.iterdir())


def test_labels_that_a_recipe_does_not_know(run, job_folder, tmp_path, capsys):
    cloud = scene(3)
    gl.write(tmp_path / "strange.npz", cloud.with_columns(classification=np.full(3000, 9)))
    assert main(["evaluate", str(run), str(tmp_path / "strange.npz"), "--output", str(tmp_path)]) == 2
    assert "9(3000points)" in "".join(capsys.readouterr().err.split()).replace("│", "")
    gl.write(tmp_path / "bare.npz", cloud.without_columns("classification"))
    assert main(["evaluate", str(run), str(tmp_path / "bare.npz"), "--output", str(tmp_path)]) == 2
    assert "nolabelcolumn'classification'" in "".join(capsys.readouterr().err.split()).replace("│", "")


def test_labels_that_do_not_count_in_one_evaluation(run, tmp_path):
    cloud = scene(3)
    cloud["classification"][100:150] = 7
    gl.write(tmp_path / "noise.npz", cloud)
    words = ["evaluate", str(run), str(tmp_path / "noise.npz"), "--output", str(tmp_path), "--ignore", "7", "12"]
    assert main(words) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert sum(part["support"] for part in scores["classes"].values()) == 3000 - 20 - 50


def test_files_without_a_label_that_counts_are_told(run, tmp_path, capsys):
    ignored = tmp_path / "ignored.npz"
    gl.write(ignored, scene(3).with_columns(classification=np.full(3000, 7)))
    assert main(["evaluate", str(run), str(ignored), "--output", str(tmp_path), "--ignore", "7"]) == 2
    message = "no point of the 1 files has a label that counts, ignored are [1, 7]; look at --ignore"
    assert message in words_of(capsys.readouterr().err)
    assert not (tmp_path / "scores.json").exists()


def test_a_folder_of_a_data_set_is_not_that_of_files(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--path", str(tmp_path)]) == 2
    assert "learned from files: name files" in words_of(capsys.readouterr().err)


def test_unknown_command_and_recipe_key(job_folder, capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in words_of(capsys.readouterr().err)
    assert main(["train", str(job_folder / "recipe.yaml"), "--schedule.stesp", "3"]) == 2
    assert "did you mean 'steps'?" in words_of(capsys.readouterr().err)


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in ("demo", "train", "evaluate", "predict", "info", "doctor"))
    for name in ("train", "predict", "evaluate", "info", "doctor", "demo"):
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert f"usage: gridless {name}" in capsys.readouterr().out

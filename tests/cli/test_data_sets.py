"""Training and evaluation on data sets through the command line, with the ready recipes."""

import json
from pathlib import Path

import pytest

import gridless as gl
from gridless.cli.main import main
from gridless.training import load_recipe, open_clouds, read_curves
from tests.cli.printed import words_of
from tests.data.published import layouts

RECIPES = Path(__file__).parents[2] / "recipes"
QUICK = [
    "--schedule.steps=4", "--schedule.steps_per_epoch=2", "--schedule.crops_per_step=2", "--schedule.workers=0",
    "--schedule.average_decay=0.5", "--data.validation_crops=3",
]  # fmt: skip
SMALL = "--network.config={spacing: 0.3, channels: [8, 16], blocks: [1, 1]}"


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [("s3dis_area5", layouts.s3dis, "Area_5"), ("semantic_kitti", layouts.semantic_kitti, "08")],
)
def test_scenes(tmp_path, capsys, name, make, part, monkeypatch):
    make(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    train = "[Area_1]" if name == "s3dis_area5" else '["00"]'
    words = ["train", str(RECIPES / f"{name}.yaml"), "--data.path", "data", "--data.train", train, "--output", "run"]
    assert main([*words, *QUICK, SMALL, "--data.validation_fraction=0.5", "--inputs.voxel_size=0.3"]) == 0
    printed = words_of(capsys.readouterr().out)
    assert ("were published" in printed) == (name == "semantic_kitti")
    assert "best validation mIoU" in printed
    assert main(["evaluate", "run", part]) == 0
    scores = json.loads(Path("run/scores.json").read_text())
    points = sum(c["support"] for c in scores["classes"].values())
    assert points == (2 * 1600 if name == "s3dis_area5" else 2 * 299)
    assert 0 <= scores["expected_calibration_error"] <= 1


def test_objects_are_learned(tmp_path, capsys):
    layouts.modelnet(tmp_path / "data", per_class=10)
    words = [
        "train",
        str(RECIPES / "modelnet40.yaml"),
        f"--data.path={tmp_path / 'data'}",
        f"--output={tmp_path / 'run'}",
    ]
    words += ["--data.options={num_classes: 2, num_points: 128}", f"--data.cache={tmp_path / 'cache'}", *QUICK, SMALL]
    # Fewer steps leave the running statistics of batch normalization behind weights that learn this fast.
    words += ["--schedule.steps=60", "--schedule.steps_per_epoch=15", "--schedule.crops_per_step=4"]
    assert main([*words, "--schedule.learning_rate=0.01"]) == 0
    assert "best validation accuracy 1.0000" in words_of(capsys.readouterr().out)
    assert read_curves(tmp_path / "run")["val_class_accuracy"][1][-1] == 1.0
    (tmp_path / "data").rename(tmp_path / "moved")
    assert main(["evaluate", str(tmp_path / "run"), "--path", str(tmp_path / "moved")]) == 0
    assert "overall accuracy 100.0, of classes 100.0" in words_of(capsys.readouterr().out)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["mean_class_accuracy"] == scores["overall_accuracy"] == 1.0
    assert sum(c["support"] for c in scores["classes"].values()) == 4
    words = ["evaluate", str(tmp_path / "run"), "--validation", "--path", str(tmp_path / "moved")]
    assert main([*words, "--output", str(tmp_path)]) == 0
    held_aside = json.loads((tmp_path / "scores.json").read_text())
    assert held_aside["overall_accuracy"] == 1.0
    assert sum(c["support"] for c in held_aside["classes"].values()) == 2
    model = gl.load_model(tmp_path / "run" / "model.safetensors")
    accuracy, loss = (read_curves(tmp_path / "run")[name] for name in ("val_accuracy", "val_loss"))
    perfect = [step for step, score in zip(*accuracy, strict=True) if score == 1.0]
    assert len(perfect) > 1
    steps_and_losses = [(value, step) for step, value in zip(*loss, strict=True) if step in perfect]
    assert model.metadata["training"]["steps"] == min(steps_and_losses)[1] + 1
    with pytest.raises(ValueError, match="gives a class to whole objects, not to points"):
        gl.predict(model, gl.PointCloud([[0.0, 0.0, 0.0]]))


def test_a_damaged_object_that_is_held_aside_is_left_out_and_no_other_counts_twice(tmp_path):
    layouts.modelnet(tmp_path, per_class=10)
    options = {"num_classes": 2, "num_points": 128}
    changes = {"data.path": str(tmp_path), "data.options": options, "data.validation_fraction": 0.3}
    recipe = load_recipe(RECIPES / "modelnet40.yaml", changes)
    held_aside = open_clouds(recipe)[1].validation.files
    held_aside[1].write_bytes(b"OFF")
    model = gl.build_model("classifier", in_channels=1, num_classes=2, channels=[8, 16], blocks=[1, 1])
    with pytest.warns(UserWarning, match="left out, as it cannot be read"):
        _, validation = open_clouds(recipe, skip_bad=True)[1].crops(recipe, model)
    counted = [validation.origin(index)["file"] for index in range(len(validation))]
    assert sorted(counted) == sorted(str(file) for file in held_aside if file != held_aside[1])


@pytest.mark.parametrize(
    ("name", "make", "options", "network", "tested"),
    [
        ("modelnet10", layouts.sampled_objects, [], "{spacing: 0.3, channels: [8, 16], blocks: [1, 1]}", 12),
        (
            "modelnet10",
            layouts.modelnet,
            ["--data.data_set=modelnet40", "--data.options={num_classes: 2, num_points: 128}"],
            "{spacing: 0.3, channels: [8, 16], blocks: [1, 1]}",
            4,
        ),
        ("radhar", layouts.radhar, [], "{dim: 4, spacing: 0.5, channels: [8, 16], blocks: [1, 1]}", 12),
    ],
    ids=["drawn points", "meshes", "windows in time"],
)
def test_recipes_of_objects_and_recordings(tmp_path, capsys, name, make, options, network, tested):
    make(tmp_path / "data")
    run = str(tmp_path / "run")
    words = ["train", str(RECIPES / f"{name}.yaml"), f"--data.path={tmp_path / 'data'}", f"--output={run}", *options]
    assert main([*words, *QUICK, f"--network.config={network}"]) == 0
    assert "best validation accuracy" in words_of(capsys.readouterr().out)
    assert main(["evaluate", run]) == 0
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert sum(c["support"] for c in scores["classes"].values()) == tested


def test_missing_data_and_networks_of_another_task_are_told(tmp_path, capsys):
    words = ["train", str(RECIPES / "modelnet40.yaml"), "--output", str(tmp_path / "run")]
    assert main([*words, "--data.path", str(tmp_path / "nowhere")]) == 2
    # The panel breaks long paths anywhere.
    message = words_of(capsys.readouterr().err).replace(" ", "")
    assert "nowhere is not there. Unpack http://modelnet.cs.princeton.edu/ModelNet40.zip".replace(" ", "") in message
    layouts.modelnet(tmp_path / "data")
    here = ["--data.path", str(tmp_path / "data"), "--data.options={num_classes: 2}"]
    assert main([*words, *here, "--network.name=pccn", "--network.config={}"]) == 2
    assert "network pccn is for segmentation, ModelNet is data for classification" in words_of(capsys.readouterr().err)
    assert main([*words, *here, "--data.options={num_points: 5, num_clases: 2}"]) == 2
    assert "unknown option 'num_clases'; did you mean 'num_classes'?" in words_of(capsys.readouterr().err)

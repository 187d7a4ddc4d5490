"""Files of tasks: every contender once, rows kept, tables in the document that the file names."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import accuracy
from benchmarks.rivals import pointnet
from gridless.data import settings_from_plain
from gridless.models import build_model
from gridless.training import load_recipe
from tests.data.published import layouts

FILES = sorted(path for path in Path(accuracy.__file__).parent.glob("*.yaml") if path.stem in ("accuracy", "study"))
TILES = {
    "dense": ("77050_627755", "77055_627755", "77055_627760", "77060_627755"),
    "km": ("0292_6833", "0299_6802", "0300_6802"),
}

TASKS = """
results: tries.csv
document: tries.md
tasks:
  hills:
    title: Hills
    recipe: aerial_lidar
    changes: {schedule.steps: 5}
    contenders:
      plain: {seeds: [0, 1]}
      wide: {changes: {network.config.num_neighbors: 24}}
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """What was measured, with nothing trained."""
    calls = []

    def measure(name, label, task, contender, seed, runs):
        calls.append((name, label, seed, {**task.changes, **contender.changes}, runs))
        return accuracy.AccuracyRow(
            name, label, seed, 0.5 + seed / 10, "ground 0.500", 0.75, 1_250_000, 2.5, "2026-01-01"
        )

    monkeypatch.setattr(accuracy, "_measure", measure)
    monkeypatch.setattr(accuracy, "_ROOT", tmp_path)
    monkeypatch.setattr(accuracy, "RESULTS_FOLDER", tmp_path)
    (tmp_path / "tasks.yaml").write_text(TASKS)
    command = f"python -m benchmarks.accuracy --file {tmp_path / 'tasks.yaml'}"
    (tmp_path / "tries.md").write_text(
        f"# Tries\n<!-- begin tries: made by `{command}` -->\n<!-- end tries -->\nafter\n"
    )

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["accuracy", *words, "--file", str(tmp_path / "tasks.yaml")])
        assert accuracy.main() == 0
        return calls

    return run


def test_every_contender_is_measured_once(measured, tmp_path):
    calls = measured()
    assert [call[:3] for call in calls] == [("hills", "plain", 0), ("hills", "plain", 1), ("hills", "wide", 0)]
    assert calls[2][3] == {"schedule.steps": 5, "network.config.num_neighbors": 24}
    assert calls[0][4].name == "tasks"
    table = (tmp_path / "tries.md").read_text()
    assert "**Hills**" in table
    assert "| plain | 1 | 0.6000 | ground 0.500 | 0.7500 | 1.25 M | 2.5 |" in table
    assert table.endswith("after\n")
    assert len(measured()) == 3  # rows are there already


def test_some_contenders(measured):
    assert [call[1] for call in measured("hills", "--contenders", "wide")] == ["wide"]
    with pytest.raises(SystemExit):
        measured("valleys")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Empty files with the names of the real tiles, and small data sets of the real layouts."""
    monkeypatch.setenv("GRIDLESS_DATA", str(tmp_path))
    for folder, names in TILES.items():
        (tmp_path / f"ign_lidarhd_{folder}").mkdir()
        for name in names:
            (tmp_path / f"ign_lidarhd_{folder}" / f"{name}.laz").touch()
    layouts.sampled_objects(tmp_path / "modelnet10")
    layouts.radhar(tmp_path / "radhar")


def networks(task):
    """Of each contender that is trained, by its label; every name in its recipe is checked on the way."""
    for label, contender in task.contenders.items():
        if contender.trees is None and not contender.together:
            path = accuracy._RECIPES / f"{contender.recipe or task.recipe}.yaml"
            recipe = load_recipe(path, {**task.changes, **contender.changes})
            shape = {"in_channels": len(recipe.inputs.features), "num_classes": 3, **recipe.network.config}
            with torch.device("meta"):
                network = build_model(recipe.network.name, **shape)
            yield label, network


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_contender_on_tiles_has_a_recipe_and_a_network(file, data):
    pointnet.register()
    tasks = settings_from_plain(accuracy.Tasks, yaml.safe_load(file.read_text())).tasks
    on_tiles = [task for task in tasks.values() if task.recipe.startswith(("aerial", "airborne"))]
    assert len(on_tiles) > 1
    for task in on_tiles:
        assert dict(networks(task))


@pytest.mark.parametrize(
    ("task", "ours"),
    [("dense", "pccn_unet"), ("km", "airborne_sparse"), ("modelnet10", "classifier"), ("radhar", "classifier")],
)
def test_rivals_have_as_many_parameters(data, task, ours):
    pointnet.register()
    tasks = settings_from_plain(accuracy.Tasks, yaml.safe_load(accuracy._TASKS.read_text())).tasks
    counts = {
        label: sum(parameter.numel() for parameter in network.parameters()) for label, network in networks(tasks[task])
    }
    for rival in ("pointnet", "pointnet2"):
        assert counts[rival] == pytest.approx(counts[ours], rel=0.02)

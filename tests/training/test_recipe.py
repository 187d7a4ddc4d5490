"""Recipes: the ready ones parse, and wrong ones say what is wrong and where."""

import re
from pathlib import Path

import pytest
import yaml

from gridless.errors import RecipeError
from gridless.models import build_model
from gridless.training import TrainingFiles, load_recipe, write_recipe
from tests.data.published import layouts

PLAIN = {
    "data": {"train": ["a.npz"]},
    "labels": {"classes": {"ground": [2], "house": [6]}},
    "inputs": {"features": ["height"], "voxel_size": 0.5, "crop_radius": 4},
}

TILES = {
    "ign_lidarhd_dense": ("77050_1.laz", "77055_1.laz", "77060_1.laz"),
    "ign_lidarhd_km": ("0292_1.laz", "0299_1.laz", "0300_1.laz"),
}


def written(folder, **changes):
    (folder / "a.npz").touch()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(PLAIN | changes))
    return path


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("recipes/*.yaml")), ids=lambda p: p.stem)
def test_ready_recipes_parse_and_their_networks_exist(path, tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDLESS_DATA", str(tmp_path))
    for folder, names in TILES.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    for folder, make in (("modelnet10", layouts.sampled_objects), ("radhar", layouts.radhar)):
        make(tmp_path / folder)
    classes = [f"class_{number}" for number in range(40)]
    for variable, make in (("S3DIS", layouts.s3dis), ("SEMANTIC_KITTI", layouts.semantic_kitti)):
        monkeypatch.setenv(variable, str(make(tmp_path / variable)))
    monkeypatch.setenv("MODELNET40", str(layouts.modelnet(tmp_path / "MODELNET40", classes, 1)))
    recipe = load_recipe(path)
    assert not {entry.files for entry in recipe.data.train} & set(recipe.data.test)
    build_model(recipe.network.name, in_channels=3, num_classes=3, **recipe.network.config)


def test_written_recipes_read_back(tmp_path):
    recipe = load_recipe(written(tmp_path))
    assert recipe.data.train == [TrainingFiles(str(tmp_path / "a.npz"))]
    write_recipe(tmp_path / "again.yaml", recipe)
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_overrides_take_the_place_of_values(tmp_path):
    recipe = load_recipe(written(tmp_path), {"schedule.steps": 7, "network.config.channels": [8]})
    assert recipe.schedule.steps == 7
    assert recipe.network.config == {"channels": [8]}


def test_paths_among_the_overrides_are_relative_to_the_current_folder(tmp_path, monkeypatch):
    path = written(tmp_path)
    here = tmp_path / "elsewhere[1]"
    here.mkdir()
    (here / "c.npz").touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("NAME", "c")
    typed = {"data.train": [{"files": "c.npz", "density": 2.0}], "data.test": ["./${NAME}.*"], "data.cache": "kept"}
    assert load_recipe(path).data.train == [TrainingFiles(str(tmp_path / "a.npz"))]
    said = written(tmp_path, data={"train": ["a.npz"], "cache": "kept"})
    assert load_recipe(said).data.cache == str(tmp_path / "kept")
    data = load_recipe(path, typed).data
    assert (data.train, data.test) == ([TrainingFiles(str(here / "c.npz"), density=2.0)], [str(here / "c.npz")])
    assert data.cache == str(here / "kept")
    with pytest.raises(FileNotFoundError, match=r"no file matches .*c\.npz"):
        load_recipe(path, typed, base=tmp_path)
    monkeypatch.delenv("NAME")
    with pytest.raises(RecipeError, match="environment variable NAME is not set"):
        load_recipe(path, typed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedul": {}}, "recipe.yaml: top level: unknown key 'schedul'; did you mean 'schedule'?"),
        ({"schedule": {"learningrate": 1}}, "schedule: unknown key 'learningrate'; did you mean 'learning_rate'?"),
        ({"schedule": {"steps": "many"}}, "schedule.steps: expected a whole number, got 'many' (str)"),
        (
            {"data": {"train": [{"files": "a.npz", "share": 1}, "a.npz"]}},
            "data: train: give every entry a share or none",
        ),
        ({"data": {"train": [{"files": "a.npz", "density": 0}]}}, "data.train[0]: density must be positive, got 0"),
        ({"data": {"train": [{"files": "a.npz", "relief": -1}]}}, "data.train[0]: relief must be a number from 0 on"),
        ({"schedule": {"steps": 0}}, "schedule: steps must be positive, got 0"),
        ({"schedule": {"time_limit": 0}}, "schedule: time_limit must be positive, got 0"),
        ({"schedule": {"label_smoothing": 2.0}}, "schedule: label_smoothing must be in [0, 1], got 2.0"),
        ({"schedule": {"workers": -1}}, "schedule: workers must not be negative, got -1"),
        ({"schedule": {"class_weights": {"house": -1.0}}}, "the weight of 'house' must not be negative, got -1.0"),
        ({"sampler": {"center_jitter": -1.0}}, "sampler: center_jitter must not be negative, got -1.0"),
        ({"augmentation": {"scale": [1.1, 0.9]}}, "augmentation.scale must be two factors, 0 < smallest <= largest"),
        ({"schedule": {"class_weights": {"house": 0.0, "ground": 0.0}}}, "every class has weight 0"),
        ({"schedule": {"class_weights": {"hous": 2.0}}}, "schedule.class_weights: no class 'hous'; did you mean 'hous"),
        ({"sampler": {"class_weights": {"tree": 1}}}, "sampler.class_weights: no class 'tree'"),
        ({"augmentation": {"feature_noise": {"hight": 1}}}, "feature_noise: no feature 'hight'; did you mean 'height'"),
        ({"labels": {"classes": {"a": [1], "b": [1]}}}, "raw label 1 belongs both to 'a' and to 'b'"),
    ],
)
def test_errors_name_the_place_and_the_nearest_key(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(written(tmp_path, **changes))


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(RecipeError, match="not a YAML file"):
        load_recipe(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError, match=r"no file matches 'b\.npz'"):
        load_recipe(written(tmp_path, data={"train": ["b.npz"]}))

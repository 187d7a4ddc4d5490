"""Every point gets a label, whatever the cloud."""

import threading

import numpy as np
import pytest
import torch

import gridless as gl
from gridless.prediction import class_probabilities, crops, input_settings, object_probabilities
from gridless.prediction.large import predict_in_tiles
from gridless.prediction.predict import tempered


def spread(num_points=800, seed=0):
    return np.round(np.random.default_rng(seed).uniform(0, 1, (num_points, 3)) * [15, 15, 3] * 64) / 64


def test_every_point_is_labelled_lonely_ones_too(model):
    positions = np.vstack([spread(), [[500.0, 0.0, 0.0]], [[-90.0, 80.0, 7.0]]])
    labelled = gl.predict(model, gl.PointCloud(positions), probabilities=True)
    assert set(labelled["label"].tolist()) <= {2, 5, 6}
    probabilities = np.column_stack([labelled[f"probability_{name}"] for name in ("ground", "tree", "house")])
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(labelled["label"], np.array([2, 5, 6])[probabilities.argmax(axis=1)])


@pytest.mark.parametrize("num_points", [0, 1, 2, 300])
def test_hard_clouds(model, num_points):
    same = gl.PointCloud(np.full((num_points, 3), 6.2e6), {"intensity": np.arange(num_points)})
    labelled = gl.predict(model, same)
    assert len(labelled["label"]) == num_points
    assert np.array_equal(labelled["intensity"], same["intensity"])
    assert len(np.unique(labelled["label"])) <= 1


def test_map_coordinates_change_nothing(model):
    offset = np.array([652_000.0, 6_862_000.0, 120.0])
    here = class_probabilities(model, input_settings(model).prepare(gl.PointCloud(spread()), "here"))
    there = class_probabilities(model, input_settings(model).prepare(gl.PointCloud(spread() + offset), "there"))
    assert np.ptp(here) > 1e-3
    assert np.abs(here - there).max() < 1e-3


def test_batches_and_workers_change_nothing(model):
    prepared = input_settings(model).prepare(gl.PointCloud(spread()), "cloud")
    one_by_one = class_probabilities(model, prepared, points_per_batch=1)
    calls = []
    together = class_probabilities(model, prepared, progress=lambda done, total: calls.append((done, total)))
    assert np.abs(one_by_one - together).max() < 1e-5
    assert calls[-1][0] == calls[-1][1]


def test_the_next_crops_are_prepared_while_the_network_has_some(model, monkeypatch):
    made = [threading.Event() for _ in range(4)]
    prepare = crops._CropInputs.__getitem__
    monkeypatch.setattr(
        crops._CropInputs,
        "__getitem__",
        lambda inputs, index: (made[min(index, 3)].set(), prepare(inputs, index))[1],
    )
    passes = []

    def forward(features, pyramid):
        if len(passes) < 3:
            assert made[len(passes) + 1].wait(20)
        passes.append(len(features))
        return torch.zeros(len(features), 3)

    monkeypatch.setattr(model, "forward", forward)
    class_probabilities(model, input_settings(model).prepare(gl.PointCloud(spread()), "cloud"), points_per_batch=1)
    assert len(passes) > 4


def test_votes_are_the_mean_over_turns_of_a_cloud(model):
    radius = input_settings(model).crop_radius
    # Symmetric bounds: one crop in the middle of the cloud, however the cloud is turned.
    cloud = gl.PointCloud((spread() - [7.5, 7.5, 0]) * [radius / 15, radius / 15, 1])
    corners = np.array([[-1, -1, 0], [1, -1, 0], [-1, 1, 0], [0.999, 0.999, 0]]) * (radius / 2)
    cloud = gl.PointCloud(np.vstack([cloud.positions, corners]))
    prepared, turned = (
        input_settings(model).prepare(gl.PointCloud(cloud.positions * sign), "cloud") for sign in (1, [-1, -1, 1])
    )
    here, there, both = (
        class_probabilities(model, part, spacing=1.001 * radius, votes=votes)
        for part, votes in ((prepared, 1), (turned, 1), (prepared, 2))
    )
    assert np.abs(here - there).max() > 1e-3
    assert np.abs((here + there) / 2 - both).max() < 0.2 * np.abs(here - there).max()
    with pytest.raises(ValueError, match="votes must be at least 1, got 0"):
        class_probabilities(model, prepared, votes=0)


def test_classification_column_is_replaced(model):
    cloud = gl.PointCloud(spread(), {"classification": np.zeros(800, np.uint8)})
    labelled = gl.predict(model, cloud)
    assert "label" not in labelled
    assert labelled["classification"].dtype == np.uint8
    assert set(labelled["classification"].tolist()) <= {2, 5, 6}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05)])
def test_models_of_other_dtypes(model, tmp_path, dtype, tolerance):
    source, target = tmp_path / "in.ply", tmp_path / "out.ply"
    cloud = gl.PointCloud(spread())
    gl.write(source, cloud)
    expected = gl.predict(model, cloud, confidence=True)["confidence"]
    model.to(dtype)
    other = gl.predict(model, cloud, confidence=True)["confidence"]
    assert np.abs(expected - other).max() < tolerance
    predict_in_tiles(model, source, target, points_in_memory=1000, confidence=True)
    assert np.abs(other - gl.read(target)["confidence"]).max() < tolerance


def test_object_networks_of_other_dtypes(model):
    objects = gl.build_model("classifier", in_channels=1, num_classes=3, channels=(8,), blocks=(1,), spacing=0.5)
    objects.metadata = model.metadata
    cloud = input_settings(model).prepare(gl.PointCloud(spread() / 4), "object")
    expected = object_probabilities(objects, [cloud])
    assert np.abs(object_probabilities(objects.double(), [cloud]) - expected).max() < 1e-5


def test_errors(model):
    bad = spread()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 800 points have NaN"):
        gl.predict(model, gl.PointCloud(bad))
    model.metadata["inputs"]["features"] = ["intensity"]
    with pytest.raises(ValueError, match=r"predict: no column 'intensity'"):
        gl.predict(model, gl.PointCloud(spread()))
    model.metadata = {}
    with pytest.raises(ValueError, match="has no 'inputs'; only models saved by a training"):
        gl.predict(model, gl.PointCloud(spread()))


@pytest.mark.parametrize("temperature", [0.2, 0.9, 5.0])
def test_temperature_changes_confidence_and_no_label(model, temperature):
    cloud = gl.PointCloud(spread())
    plain = gl.predict(model, cloud, confidence=True, probabilities=True)
    model.metadata["temperature"] = temperature
    other = gl.predict(model, cloud, confidence=True)
    assert np.array_equal(plain["label"], other["label"])
    sharper = other["confidence"] > plain["confidence"]
    assert sharper.all() if temperature < 1 else not sharper.any()
    largest = np.column_stack([plain[f"probability_{name}"] for name in ("ground", "tree", "house")]).max(axis=1)
    assert np.array_equal(plain["confidence"], largest)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0, 20.0])
def test_tempered_probabilities_are_those_of_tempered_logits(temperature):
    logits = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    probabilities = logits.softmax(dim=1).numpy()
    expected = (logits / temperature).softmax(dim=1).numpy()
    result = tempered(probabilities, temperature)
    assert np.array_equal(result.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_a_model_without_temperature_has_temperature_one():
    weights = np.array([[0.25, 0.5], [1e-30, 3e-30]], np.float32)
    np.testing.assert_allclose(tempered(weights, 1.0), [[1 / 3, 2 / 3], [0.25, 0.75]], rtol=1e-6)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        tempered(weights, 0)


def test_names_of_probabilities_are_such_as_every_format_takes(model):
    model.metadata["labels"]["classes"] = {"low vegetation": [3], "Straße": [2], "house (all)": [6]}
    names = set(gl.predict(model, gl.PointCloud(spread()), probabilities=True).columns)
    assert {"probability_low_vegetation", "probability_Stra_e", "probability_house__all_"} <= names
    model.metadata["labels"]["classes"] = {"a b": [3], "a.b": [2], "c": [6]}
    names = set(gl.predict(model, gl.PointCloud(spread()), probabilities=True).columns)
    assert {"probability_0_a_b", "probability_1_a_b", "probability_2_c"} <= names

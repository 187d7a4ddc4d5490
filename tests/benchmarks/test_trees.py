"""Hand-made features and trees, the classical way that the networks are measured against."""

import numpy as np
import pytest

import gridless as gl
from benchmarks import accuracy
from benchmarks.accuracy import AccuracyContender, Task
from benchmarks.rivals import trees
from gridless.data import IGNORED, LabelMap
from gridless.data.simulation import simulate_airborne_lidar

LABELS = LabelMap({"ground": [2], "vegetation": [3, 4, 5], "building": [6]}, ignored=[0, 1, 14, 15, 64])


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    """A simulated flight in a file."""
    path = tmp_path_factory.mktemp("flight") / "flight.las"
    gl.write(path, simulate_airborne_lidar(0, size=(40.0, 30.0), density=3.0))
    return path


def test_118_features_of_every_labelled_point(flight):
    cloud = gl.read(flight)
    classes = LABELS.of_cloud(cloud, "flight")
    ((features, known),) = trees.labelled_features([flight], LABELS, 1.0)
    assert features.shape == ((classes != IGNORED).sum(), 118)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(known, classes[classes != IGNORED])


def test_strips_hold_every_labelled_point_once_and_no_neighbors_of_another_strip(flight):
    ((features, known),) = trees.labelled_features([flight], LABELS, 1.0)
    (even,), (odd,) = trees.labelled_strips([flight], LABELS, 1.0, width=10.0)
    cloud = gl.read(flight)
    x = cloud.positions[LABELS.of_cloud(cloud, "flight") != IGNORED, 0]
    first = (x - x.min()) // 10 % 2 == 0
    np.testing.assert_array_equal(even[0], features[first])
    np.testing.assert_array_equal(odd[0], features[~first])
    np.testing.assert_array_equal(np.concatenate([even[1], odd[1]]), np.concatenate([known[first], known[~first]]))


def test_trees_that_know_the_place_are_scored_on_every_point_by_those_of_the_other_strips(flight, monkeypatch):
    fitted_on = []

    class Constant:
        def fit(self, features, classes):
            fitted_on.append(len(classes))
            return self

        def predict(self, features):
            return np.zeros(len(features), np.int64)

    monkeypatch.setattr(accuracy, "trees", lambda kind, seed: Constant())
    monkeypatch.setattr(accuracy, "load_recipe", lambda path: type("Recipe", (), {"labels": LABELS}))
    task = Task("Flight", "aerial_lidar", {}, test=[str(flight)])
    scores = accuracy._trees_scores(task, AccuracyContender(trees="forest", strips=10.0), seed=0)
    ((_, known),) = trees.labelled_features([flight], LABELS, 1.0)
    assert sum(fitted_on) == len(known)
    assert scores["overall_accuracy"] == pytest.approx((known == 0).mean())

"""fit and predict as in scikit-learn."""

import numpy as np
import pytest

import gridless as gl
from gridless.data.simulation import simulate_airborne_lidar
from gridless.estimator import PointSegmenter

SMALL = {"channels": [8, 16], "blocks": [1, 1]}


def scene(seed):
    """A simulated scene, its features beside the positions, and whether each point is ground, as text."""
    cloud = simulate_airborne_lidar(seed, (24.0, 24.0), density=2.0)
    labels = np.where(cloud["classification"] == 2, "ground", "other")
    return np.column_stack([cloud.positions, cloud["intensity"]]), labels


@pytest.fixture(scope="module")
def fitted():
    (first, first_labels), (second, second_labels) = scene(1), scene(2)
    segmenter = PointSegmenter(config=SMALL, steps=50)
    return segmenter.fit([first, second], [first_labels, second_labels])


def test_it_labels_a_scene_that_it_has_not_seen(fitted):
    points, labels = scene(3)
    most_frequent = max(np.mean(labels == name) for name in fitted.classes_)
    assert fitted.score(points, labels) > max(0.85, most_frequent + 0.1)
    scores = fitted.predict_proba(points)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(fitted.predict(points), fitted.classes_[scores.argmax(axis=1)])


def test_several_clouds_give_several_answers(fitted):
    points, _ = scene(3)
    found = fitted.predict([points, points[:0], points])
    assert [len(part) for part in found] == [len(points), 0, len(points)]
    np.testing.assert_array_equal(found[0], fitted.predict(points))


def test_sizes_follow_from_the_points(fitted):
    inputs = fitted.model_.metadata["inputs"]
    assert 0.1 < inputs["voxel_size"] < 1.5  # 2 points/m²
    assert 10 < inputs["crop_radius"] < 25
    assert [feature["name"] for feature in inputs["features"]] == ["constant", "height", "feature_3"]


def test_the_same_seed_gives_the_same_network():
    points, labels = scene(1)
    first, second = (PointSegmenter(config=SMALL, steps=3).fit(points, labels).predict_proba(points) for _ in "ab")
    np.testing.assert_array_equal(first, second)


def test_points_in_the_plane_with_columns_by_name():
    places = np.random.default_rng(0).random((500, 2))
    cloud = gl.PointCloud(places, {"value": np.sin(6 * places[:, 0]), "truth": np.zeros(500)})
    labels = (cloud["value"] > 0).astype(int) * 7
    segmenter = PointSegmenter(dim=2, features=["value"], config=SMALL, steps=30, random_state=1).fit(cloud, labels)
    assert segmenter.classes_.tolist() == [0, 7]
    assert segmenter.score(cloud, labels) > 0.8


def test_parameters_as_scikit_learn_wants_them():
    base = pytest.importorskip("sklearn.base")
    segmenter = PointSegmenter(steps=5, config=SMALL)
    copy = base.clone(segmenter).set_params(steps=6)
    assert (segmenter.steps, copy.steps, copy.config) == (5, 6, SMALL)
    with pytest.raises(ValueError, match="no parameter 'step'"):
        copy.set_params(step=1)


def test_what_cannot_be_learned_is_told():
    points, labels = np.random.default_rng(0).random((50, 3)), np.arange(50) % 2
    with pytest.raises(ValueError, match="fit it first"):
        PointSegmenter().predict(points)
    with pytest.raises(ValueError, match=r"50 points, its labels shape \(49,\)"):
        PointSegmenter().fit(points, labels[1:])
    with pytest.raises(ValueError, match="two classes at least"):
        PointSegmenter().fit(points, labels * 0)
    with pytest.raises(ValueError, match="1 of 50 points have NaN"):
        PointSegmenter().fit(np.where(np.arange(150).reshape(50, 3) == 7, np.nan, points), labels)
    with pytest.raises(ValueError, match=r"expected an array \[N, 3 \+ F\]"):
        PointSegmenter().fit(points[:, :2], labels)
    with pytest.raises(ValueError, match="no column 'red'"):
        PointSegmenter(features=["red"]).fit(gl.PointCloud(points), labels)

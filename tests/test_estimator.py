"""fit and predict as in scikit-learn."""

import random

import numpy as np
import pytest
import torch

import gridless as gl
from gridless.data.simulation import simulate_airborne_lidar
from gridless.estimator import PointSegmenter

SMALL = {"channels": [8, 16], "blocks": [1, 1]}


def two_halves(num_points=120):
    """Points in a cube, and in which half of it they are."""
    points = np.random.default_rng(0).random((num_points, 3))
    return points, np.where(points[:, 2] > 0.5, "upper", "lower")


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


def test_scikit_learn_splits_searches_and_chains():
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.base import is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points, labels = two_halves()
    segmenter = PointSegmenter(config=SMALL, steps=2)
    assert is_classifier(segmenter)
    assert cross_val_score(segmenter, points, labels, cv=2).shape == (2,)
    assert cross_val_score(segmenter, [points, points], [labels, labels], cv=2).shape == (2,)
    search = GridSearchCV(segmenter, {"steps": [1, 2]}, cv=2).fit(points, labels)
    assert search.best_params_["steps"] in (1, 2)
    pipeline = make_pipeline(StandardScaler(), segmenter).fit(points, labels)
    assert pipeline.classes_.tolist() == ["lower", "upper"]
    assert pipeline.score(points, labels) == np.mean(pipeline.predict(points) == labels)


def test_what_is_constant_in_training_does_not_count():
    points, labels = two_halves(300)
    points[:, 2] = 0.1
    with_constant = np.column_stack([points, np.full(300, 0.1)])
    assert with_constant.std(axis=0)[2:].min() > 0, "the noise is gone that this test is about"
    segmenter = PointSegmenter(config=SMALL, steps=2).fit(with_constant, labels)
    heights_and_constant = segmenter.model_.metadata["inputs"]["features"][1:]
    assert [feature["scale"] for feature in heights_and_constant] == [1.0, 1.0]
    changed = with_constant + np.array([0, 0, 0, 1e-9])
    np.testing.assert_allclose(segmenter.predict_proba(changed), segmenter.predict_proba(with_constant), atol=1e-5)
    # Positions that were turned: the last coordinate is a constant but for rounding.
    segmenter.fit(points + np.column_stack([np.zeros((300, 2)), np.arange(300) % 2 * 1e-16]), labels)
    assert segmenter.model_.metadata["inputs"]["features"][1]["scale"] == 1.0


def test_global_generators_go_on_as_if_nothing_had_been_fitted():
    points, labels = two_halves()

    def drawn(fitted):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        if fitted:
            PointSegmenter(config=SMALL, steps=1).fit(points, labels)
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    assert drawn(fitted=True) == drawn(fitted=False)


def test_without_a_seed_every_fit_is_another():
    points, labels = two_halves()
    first, second = (
        PointSegmenter(config=SMALL, steps=1, random_state=None).fit(points, labels).predict_proba(points) for _ in "ab"
    )
    assert not np.array_equal(first, second)


def test_columns_that_are_not_used_may_have_any_name():
    points, labels = two_halves()
    cloud = gl.PointCloud(points, {"a b/ü": np.zeros(120), "words": np.full(120, None), "value": points[:, 2]})
    segmenter = PointSegmenter(features=["value"], config=SMALL, steps=1).fit(cloud, labels)
    assert segmenter.predict(cloud).shape == (120,)


def test_what_cannot_be_learned_is_told(fitted):
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
    for missing in (np.where(labels, 1.0, np.nan), np.array(["roof", np.nan], object)[labels]):
        with pytest.raises(ValueError, match="25 of 50 labels of cloud 1 are NaN"):
            PointSegmenter().fit([points, points], [labels, missing])
    with pytest.raises(ValueError, match="cloud 1 has no points"):
        PointSegmenter().fit([points, points[:0]], [labels, labels[:0]])
    with pytest.raises(ValueError, match="voxel_size must be positive"):
        PointSegmenter(voxel_size=0).fit(points, labels)
    with pytest.raises(ValueError, match="crop_radius must be positive"):
        PointSegmenter(crop_radius=0).fit(points, labels)
    with_gap = np.column_stack([points, np.where(np.arange(50) == 7, np.inf, 0)])
    with pytest.raises(ValueError, match=r"'feature_3' of cloud 1 is NaN or infinite for 1 values \(first: row 7\)"):
        PointSegmenter().fit([np.nan_to_num(with_gap, posinf=0), with_gap], [labels, labels])
    with pytest.raises(ValueError, match=r"50 points, its labels shape \(1,\)"):
        fitted.score(np.column_stack([points, labels]), ["ground"])
    with pytest.raises(ValueError, match="2 clouds but 1 lists of labels"):
        fitted.score([points, points], [labels])

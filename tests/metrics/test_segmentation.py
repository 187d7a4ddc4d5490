import json
import math

import numpy as np
import pytest
import torch

from gridless.metrics import SegmentationScores, confusion_matrix, mean_class_accuracy

NAMES = ["ground", "vegetation", "building", "never"]


def test_scores_equal_a_hand_made_example():
    scores = SegmentationScores(("a", "b"), np.array([[6, 2], [1, 3]]))
    assert scores.overall_accuracy == pytest.approx(9 / 12)
    np.testing.assert_allclose(scores.iou, [6 / 9, 3 / 6])
    np.testing.assert_allclose(scores.precision, [6 / 7, 3 / 5])
    np.testing.assert_allclose(scores.recall, [6 / 8, 3 / 4])
    assert scores.support.tolist() == [8, 4]
    assert scores.mean_iou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert mean_class_accuracy(scores.confusion) == pytest.approx(0.75)


def test_scores_equal_a_loop_over_points():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(-1, 3, 500), rng.integers(0, 3, 500)
    scores = SegmentationScores.from_labels(truth, prediction, NAMES)
    for c in range(3):
        pairs = [(t == c, p == c) for t, p in zip(truth, prediction, strict=True) if t != -1]
        hits, misses = sum(t and p for t, p in pairs), sum(t and not p for t, p in pairs)
        false_alarms = sum(p and not t for t, p in pairs)
        assert scores.iou[c] == pytest.approx(hits / (hits + misses + false_alarms))
        assert scores.precision[c] == pytest.approx(hits / (hits + false_alarms))
        assert scores.recall[c] == pytest.approx(hits / (hits + misses))
        assert scores.support[c] == hits + misses
    assert scores.confusion.sum() == (truth != -1).sum()


def test_a_class_in_neither_side_is_left_out_of_the_mean_and_one_only_predicted_counts_as_zero():
    scores = SegmentationScores.from_labels([0, 0, 1], [0, 0, 2], NAMES)
    assert math.isnan(scores.iou[3])
    assert scores.iou[2] == 0
    assert scores.mean_iou == pytest.approx(1 / 3)


def test_ignored_points_do_not_count_whatever_was_predicted():
    kept = SegmentationScores.from_labels([0, 1], [0, 0], NAMES)
    with_ignored = SegmentationScores.from_labels([0, 1, 255, 255], [0, 0, 77, -5], NAMES, ignore_index=255)
    np.testing.assert_array_equal(kept.confusion, with_ignored.confusion)


def test_sums_equal_scoring_everything_at_once():
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    first, second = (
        SegmentationScores.from_labels(truth[s], prediction[s], NAMES) for s in (slice(30), slice(30, 100))
    )
    whole = SegmentationScores.from_labels(truth, prediction, NAMES)
    np.testing.assert_array_equal((first + second).confusion, whole.confusion)
    with pytest.raises(ValueError, match="same classes"):
        first + SegmentationScores(("x",), np.zeros((1, 1)))


def test_dictionary_is_json_and_has_none_for_undefined():
    scores = SegmentationScores.from_labels([0, 1], [0, 1], NAMES)
    as_read = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert as_read["classes"]["never"]["iou"] is None
    assert as_read["mean_iou"] == 1.0
    assert SegmentationScores.from_labels([], [], NAMES).to_dict()["overall_accuracy"] is None


@pytest.mark.parametrize("convert", [torch.tensor, lambda x: np.array(x, dtype=np.uint16), list])
def test_tensors_arrays_and_lists_count_alike(convert):
    assert confusion_matrix(convert([0, 1, 1]), convert([1, 1, 0]), 2).tolist() == [[0, 1], [1, 1]]


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match=r"prediction must be in 0 \.\. 1"):
        confusion_matrix([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match="truth must be in"):
        confusion_matrix([0, -7], [0, 1], 2)
    with pytest.raises(ValueError, match="same length"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(TypeError, match="integers"):
        confusion_matrix(np.array([0.5]), [0], 2)
    with pytest.raises(TypeError, match="argmax"):
        confusion_matrix(torch.rand(3), [0, 1, 1], 2)
    with pytest.raises(ValueError, match=r"\[N\]"):
        confusion_matrix(torch.zeros(3, 2, dtype=torch.long), [0, 1, 1], 2)
    with pytest.raises(ValueError, match="confusion must be"):
        SegmentationScores(("a",), np.zeros((2, 2)))
